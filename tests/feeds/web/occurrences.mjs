// What ical.js finds in calendars: reads {module, texts, start, end} (milliseconds) as JSON from standard input and
// writes for each text a list of [start, end, cancelled] with start <= time < end.
import { readFileSync } from "node:fs";

const { module, texts, start, end } = JSON.parse(readFileSync(0, "utf8"));
const ICAL = (await import(module)).default;

const DAY = 24 * 3600 * 1000;

function occurrences(text) {
  ICAL.TimezoneService.reset();
  const calendar = new ICAL.Component(ICAL.parse(text));
  for (const zone of calendar.getAllSubcomponents("vtimezone")) {
    ICAL.TimezoneService.register(zone);
  }
  const events = calendar.getAllSubcomponents("vevent").map((component) => new ICAL.Event(component));
  const masters = new Map(events.filter((event) => !event.isRecurrenceException()).map((event) => [event.uid, event]));
  for (const event of events.filter((each) => each.isRecurrenceException())) {
    masters.get(event.uid).relateException(event);
  }

  const found = [];
  function note(item, startDate) {
    const from = startDate.toJSDate().getTime();
    if (from >= start && from < end) {
      const cancelled = item.component.getFirstPropertyValue("status") === "CANCELLED";
      // A length by the stopwatch: ical.js itself adds wall-clock time, and ends in the hour that a night leaves out.
      found.push([from, from + item.duration.toSeconds() * 1000, cancelled]);
    }
  }

  for (const event of masters.values()) {
    if (!event.isRecurring()) {
      note(event, event.startDate);
      continue;
    }
    const iterator = event.iterator();
    // An instance may have been moved by some days.
    for (let next = iterator.next(); next && next.toJSDate().getTime() < end + 30 * DAY; next = iterator.next()) {
      const { item, startDate } = event.getOccurrenceDetails(next);
      note(item, startDate);
    }
  }
  return found;
}

process.stdout.write(JSON.stringify(texts.map(occurrences)));
