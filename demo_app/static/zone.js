// Shows the visitor's own time beside the venue's, where the two clocks differ. Runs before the page is painted,
// so that the room for those times is there from the first moment on.
"use strict";

(() => {
  const root = document.documentElement;
  const OPTIONS = { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" };

  function clock(timeZone) {
    const format = new Intl.DateTimeFormat("en-GB", { ...OPTIONS, timeZone });
    return (moment) => Object.fromEntries(format.formatToParts(moment).map((part) => [part.type, part.value]));
  }

  const mine = clock(undefined);
  const time = (parts) => `${parts.hour}:${parts.minute}`;
  const day = (parts) => `${parts.weekday} ${parts.day} ${parts.month}`;
  const same = (a, b) => time(a) === time(b) && day(a) === day(b);

  // Two zones may agree in one season only: what counts are the times that the page shows.
  const around = (root.dataset.around || new Date().toISOString()).split(" ").map((text) => new Date(text));

  function differs(zone) {
    const theirs = clock(zone);
    return around.some((moment) => !same(mine(moment), theirs(moment)));
  }

  function fill(place) {
    const theirs = clock(place.dataset.zone);
    const short = place.classList.contains("short");
    const texts = new Set();
    for (const start of place.dataset.starts.split(" ").filter(Boolean)) {
      const [own, other] = [mine(new Date(start)), theirs(new Date(start))];
      if (same(own, other)) continue;
      const days = day(own) === day(other) ? "" : short ? `${own.weekday} ` : `${day(own)}, `;
      // In a week the weekday is another one each time: there the time is enough.
      texts.add(short && place.dataset.starts.includes(" ") ? time(own) : days + time(own));
    }
    const text = [...texts].join(" / ");
    place.textContent = text && !short ? `${text} on your clock` : text;
  }

  if (!root.dataset.zones.split(" ").some(differs)) return;
  root.classList.add("elsewhere");
  document.addEventListener("DOMContentLoaded", () => document.querySelectorAll(".yours").forEach(fill));
})();
