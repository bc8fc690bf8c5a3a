const options = new URLSearchParams(location.search);
window.calendar = EventCalendar.create(document.getElementById("calendar"), {
  view: "timeGridWeek",
  date: options.get("date"),
  headerToolbar: { start: "prev,next", center: "title", end: "" },
  firstDay: 1,
  eventSources: [{ url: "/api/feed.json" }],
});
