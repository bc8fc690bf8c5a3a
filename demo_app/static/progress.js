// Fills the progress bar while the first week of a template is generated, then loads the page with the result.
"use strict";

(() => {
  const panel = document.getElementById("filling");
  const bar = document.getElementById("progress");
  const said = document.getElementById("said");
  if (!panel || !panel.dataset.progress || !bar) return;

  const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  const PAUSE = 250; // milliseconds between two questions
  const STEP = 0.03; // of the bar a frame: it never runs ahead of what is written
  let total = 0; // how many dates there are
  let share = 0; // how much of them is written
  let shown = 0; // what the bar shows
  let over = false;

  bar.max = 1;
  bar.value = 0;

  function draw() {
    shown = calm ? share : Math.min(share, shown + STEP);
    bar.value = shown;
    if (total) said.textContent = `${Math.round(shown * total)} of ${total} written.`;
    if (over && shown >= share) {
      window.location.reload();
      return;
    }
    window.requestAnimationFrame(draw);
  }

  async function ask() {
    try {
      const answer = await fetch(panel.dataset.progress, { headers: { Accept: "application/json" } });
      const state = await answer.json();
      over = state.status === "confirmed" || state.status === "failed";
      total = state.total;
      share = state.status === "confirmed" ? 1 : total ? state.done / total : 0;
    } catch {
      // The next question may be answered.
    }
    if (!over) window.setTimeout(ask, PAUSE);
  }

  draw();
  ask();
})();
