// Counts down how long a place is kept while the name is typed. Without it the page says "for ten minutes".
"use strict";

(() => {
  const kept = document.getElementById("kept");
  if (!kept) return;
  const until = Date.parse(kept.dataset.until);

  function show() {
    const left = Math.max(0, Math.ceil((until - Date.now()) / 1000));
    const minutes = Math.floor(left / 60);
    const seconds = String(left % 60).padStart(2, "0");
    kept.textContent = left
      ? `Kept for you for ${minutes}:${seconds} more.`
      : "No longer kept for you: it is booked if it is still free.";
    if (left) window.setTimeout(show, 1000);
  }

  show();
})();
