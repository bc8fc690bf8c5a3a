const options = new URLSearchParams(location.search);
window.calendar = new FullCalendar.Calendar(document.getElementById("calendar"), {
  initialView: "timeGridWeek",
  initialDate: options.get("date"),
  timeZone: options.get("zone"),
  headerToolbar: { left: "prev,next", center: "title", right: "" },
  firstDay: 1,
  events: "/api/feed.json",
});
window.calendar.render();
