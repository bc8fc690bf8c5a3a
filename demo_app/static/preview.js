// Shows the next dates of a template while its form is filled in. Without it a button does the same.
"use strict";

(() => {
  const form = document.querySelector("form[data-preview]");
  const place = document.getElementById("preview");
  const button = document.getElementById("show-preview");
  if (!form || !place || !button) return;
  const PAUSE = 250; // milliseconds after the last key
  let waiting = 0;
  let asked = 0;
  button.hidden = true;

  async function ask() {
    const number = (asked += 1);
    try {
      const answer = await fetch(form.dataset.preview, { method: "POST", body: new FormData(form) });
      const text = await answer.text();
      if (answer.ok && number === asked) place.innerHTML = text; // of this site, and escaped there
    } catch {
      // What is shown stays, and the next key asks again.
    }
  }

  form.addEventListener("input", () => {
    window.clearTimeout(waiting);
    waiting = window.setTimeout(ask, PAUSE);
  });
})();
