const options = new URLSearchParams(location.search);
// EventCalendar converts times with today's offset, which is wrong in the other half of the year. So it gets clock
// times without offset: of the zone that it is told to show, or of the venue.
const extraParams = { floating: true };
if (options.get("zone") === "viewer") {
  extraParams.timeZone = Intl.DateTimeFormat().resolvedOptions().timeZone;
}
window.calendar = EventCalendar.create(document.getElementById("calendar"), {
  view: "timeGridWeek",
  date: options.get("date"),
  headerToolbar: { start: "prev,next", center: "title", end: "" },
  firstDay: 1,
  eventSources: [{ url: "/api/feed.json", extraParams }],
});
