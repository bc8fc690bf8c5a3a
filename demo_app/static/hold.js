// Counts down how long a place is kept while the name is typed. Without it the page says "for ten minutes".
"use strict";

(() => {
  const kept = document.getElementById("kept");
  const text = document.getElementById("kept-for");
  if (!kept || !text) return;
  const until = Date.parse(kept.dataset.until);

  function show() {
    const left = Math.max(0, Math.ceil((until - Date.now()) / 1000));
    const minutes = Math.floor(left / 60);
    const seconds = String(left % 60).padStart(2, "0");
    text.textContent = left ? `for ${minutes}:${seconds} more` : "no longer: it is only booked if it is still free";
    if (left) window.setTimeout(show, 1000);
  }

  show();
})();
