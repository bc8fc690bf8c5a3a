"""The form of a template, new or changed: what was typed, what is wrong with it, and the fields that come of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from flask_rollingslots import Recurrence
from flask_rollingslots.errors import InvalidRule, RollingSlotsError
from flask_rollingslots.recurrence import template_fields

from . import words
from .venues import find_venue

if TYPE_CHECKING:
    from werkzeug.datastructures import MultiDict

    from flask_rollingslots import TemplateMixin

UNITS = {"daily": "days", "weekly": "weeks", "monthly": "months", "yearly": "years"}
ENDS = {"never": "never", "count": "after a number of dates", "until": "on a date"}
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
#: Stands for a rule that the form's fields cannot say.
KEEP = "keep"
_FAR = timedelta(days=3660)
_LONGEST_NUMBER = 6
_LONGEST_NOTE = 300
_MINUTE = timedelta(minutes=1)
_RANGE = re.compile(r"(\d{4}-\d\d-\d\d)(?:\s+to\s+(\d{4}-\d\d-\d\d))?")

#: Which input an error of the library belongs to.
_INPUTS = {
    "type": "unit",
    "weekday": "weekdays",
    "duration": "length",
    "dtstart": "first_date",
    "start": "start_time",
    "every": "grid_every",
    "until_time": "grid_until",
    "end": "ends",
    "group": "venue",
    "timezone": "venue",
    "rrule": "unit",
    "opens_days_before": "opens",
    "closes_before": "closes",
}
_LABELS = {
    "venue": "Venue",
    "name": "Name",
    "note": "About",
    "first_date": "First date",
    "start_time": "Start time",
    "length": "Length in minutes",
    "interval": "Repeat every",
    "unit": "Days, weeks or months",
    "weekdays": "On",
    "ends": "Ends",
    "count": "Number of dates",
    "until_date": "Last date",
    "grid_every": "A slot every",
    "grid_until": "Until",
    "capacity": "Places",
    "holidays": "Public holidays of",
    "blackouts": "Days off",
    "opens": "Opens … days before",
    "closes": "Closes … minutes before",
}

Fields = dict[str, Any]


@dataclass
class TemplateForm:
    """What somebody typed, with an error for each input that is wrong.

    :param template: what is changed; ``None`` for a new one.
    """

    values: dict[str, str]
    weekdays: list[str] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)
    template: TemplateMixin | None = None

    @classmethod
    def blank(cls, today: date, venue: str) -> TemplateForm:
        """Return the form with which a new template begins."""
        given = {
            "venue": venue,
            "first_date": today.isoformat(),
            "start_time": "10:00",
            "length": "60",
            "interval": "1",
            "unit": "daily",
            "ends": "never",
            "capacity": "2",
        }
        return cls(dict.fromkeys(_LABELS, "") | given)

    @classmethod
    def read(cls, sent: MultiDict[str, str], template: TemplateMixin | None = None) -> TemplateForm:
        """Return what was sent."""
        values = {name: sent.get(name, "").strip() for name in _LABELS}
        values["note"] = words.one_line(values["note"])
        if template is not None:  # not for choice any more
            values |= {"venue": template.group or "", "first_date": template.dtstart.date().isoformat()}
        return cls(values, sent.getlist("weekdays"), template=template)

    @classmethod
    def of(cls, template: TemplateMixin) -> TemplateForm:
        """Return the form as a template fills it in."""
        shown = template.dtstart + template.shift
        rule, days = _rule_values(template)
        values = {
            "venue": template.group or "",
            "name": template.name,
            "note": str((template.data or {}).get("note", "")),
            "capacity": str(template.capacity),
            "first_date": template.dtstart.date().isoformat(),
            "start_time": f"{shown:%H:%M}",
            "length": str(template.duration // _MINUTE),
            **rule,
            **_limits(template),
        }
        return cls(dict.fromkeys(_LABELS, "") | values, days, template=template)

    @property
    def messages(self) -> dict[str, str]:
        """The errors by input, each beginning with the input's name."""
        return {
            name: f"{_LABELS[name]}: {text}" if name in _LABELS else text
            for name, text in self.errors.items()
        }

    def refuse(self, error: RollingSlotsError) -> None:
        """Put an error of the library beside the input that it is about."""
        part = str(error.details.get("part") or error.details.get("field") or "")
        expected = error.details.get("expected")
        name = _INPUTS.get(part, part)
        if name not in _LABELS:
            self.errors["form"] = f"{words.plain_sentence(str(error))}."
        else:
            self.errors[name] = f"Expected {str(expected).rstrip('.')}." if expected else f"{error}."

    # -- a new template ------------------------------------------------------------------------------------------

    def fields(self) -> Fields | None:
        """Return the fields of the template; ``None`` if something is wrong, said in ``errors``."""
        venue = find_venue(self.values.get("venue"))
        if venue is None:
            self.errors["venue"] = "Choose one from the list."
        own, rule, start = self._own(), self._rule(), self._first_start()
        limits = {} if self.template else self.limits()
        if self.errors or venue is None or start is None:
            return None
        try:
            made = template_fields(rule, dtstart=start, timezone=venue.timezone)[0]
        except InvalidRule as error:
            self.refuse(error)
            return None
        return {**made, **own, **limits, "group": venue.slug}

    def limits(self) -> Fields:
        """Return when the template rests, opens and closes; what is wrong is said in ``errors``."""
        opens, closes = self._whole("opens", optional=True), self._whole("closes", optional=True)
        if closes is not None and closes < 0:
            self.errors["closes"] = "Expected minutes before the start, 0 or more."
        return {
            "holidays": self.values["holidays"].upper() or None,
            "blackouts": self._blackouts(),
            "opens_days_before": opens,
            "closes_before": timedelta(minutes=closes) if closes else None,
        }

    def _own(self) -> Fields:
        name, note = self.values["name"], self.values["note"]
        if not name:
            self.errors["name"] = "Write what people book."
        if len(note) > _LONGEST_NOTE:
            self.errors["note"] = f"Write at most {_LONGEST_NOTE} letters."
        length = self._whole("length")
        return {
            "name": name,
            "capacity": self._whole("capacity"),
            "duration": timedelta(minutes=length or 0),
            "data": {"note": note} if note else {},
        }

    # -- a changed one -------------------------------------------------------------------------------------------

    def changes(self, template: TemplateMixin) -> Fields | None:
        """Return what differs from a template, as ``slots.edit`` wants it; ``None`` if something is wrong."""
        keeps = self.values["unit"] == KEEP
        if keeps:
            self.values |= {"unit": "daily", "interval": "1", "ends": "never"}
            self.weekdays = []
        new = self.fields()
        if keeps:
            self.values["unit"] = KEEP
        if new is None:
            return None
        found = {
            name: new[name]
            for name in ("name", "capacity", "duration")
            if new[name] != getattr(template, name)
        }
        if new["data"].get("note", "") != (template.data or {}).get("note", ""):
            found["data"] = {"note": new["data"].get("note", "")}
        if new["dtstart"].time() != (template.dtstart + template.shift).time():
            found["start"] = new["dtstart"].time()
        if not keeps and not _same_rule(template, new["rrule"]):
            found["rrule"] = new["rrule"]
        return found

    # -- reading inputs ------------------------------------------------------------------------------------------

    def _rule(self) -> Fields:
        """Return the repetition as a JSON dialect object; absent inputs are ``None``."""
        ends = self.values["ends"]
        rule: Fields = {
            "type": self.values["unit"],
            "interval": self._whole("interval"),
            "start_time": self.values["start_time"] or None,
            "every": self._whole("grid_every", optional=True),
            "until_time": self.values["grid_until"] or None,
        }
        if self.weekdays:
            rule["weekdays"] = [int(day) if day.isascii() and day.isdigit() else day for day in self.weekdays]
        if ends == "count":
            rule["count"] = self._whole("count")
        elif ends == "until":
            rule["until_date"] = self.values["until_date"] or None
            self._check_last_date()
        else:
            rule["end"] = ends or None
        if not self.values["start_time"]:
            self.errors["start_time"] = "Write a time of day, such as 10:00."
        return rule

    def _whole(self, name: str, optional: bool = False) -> int | None:
        text = self.values[name]
        if optional and not text:
            return None
        if text.isascii() and text.removeprefix("-").isdigit() and len(text) <= _LONGEST_NUMBER:
            return int(text)
        self.errors[name] = "Write a whole number."
        return None

    def _first_start(self) -> datetime | None:
        day = self._date("first_date")
        if self.template is None and day is not None and abs(day - date.today()) > _FAR:  # noqa: DTZ011 (a bound, to the year)
            self.errors["first_date"] = "Choose a date within ten years of today."
        return None if day is None else datetime.combine(day, time())

    def _check_last_date(self) -> None:
        first, last = self._date("first_date"), self._date("until_date")
        if first is not None and last is not None and last < first:
            self.errors["until_date"] = "Choose a date that is not before the first date."

    def _date(self, name: str) -> date | None:
        try:
            return date.fromisoformat(self.values[name])
        except ValueError:
            self.errors[name] = "Choose a date, such as 2026-01-31."
            return None

    def _blackouts(self) -> list[tuple[date, date]]:
        found = []
        for line in filter(None, map(str.strip, self.values["blackouts"].splitlines())):
            match = _RANGE.fullmatch(line)
            try:
                days = [date.fromisoformat(day) for day in match.groups() if day] if match else []
            except ValueError:
                days = []
            if not days or days[-1] < days[0]:
                self.errors["blackouts"] = "Write a day or a range on each line: 2026-12-24 to 2026-12-26."
                break
            found.append((days[0], days[-1]))
        return found


def _rule_values(template: TemplateMixin) -> tuple[dict[str, str], list[str]]:
    """Return the inputs of a template's rule; ``unit`` is ``keep`` where they cannot say it."""
    rule = _plain_rule(template, template.rrule)
    known = {"type", "interval", "weekday", "weekdays", "count", "until_date", "end", "month_day"}
    day = rule.pop("month_day", None)
    if rule.get("type") not in UNITS or set(rule) - known or day not in (None, template.dtstart.day):
        return {"unit": KEEP, "interval": "1", "ends": "never"}, []
    days = rule.get("weekdays", [rule["weekday"]] if "weekday" in rule else [])
    if "weekday" in rule and rule["type"] != "weekly":
        return {"unit": KEEP, "interval": "1", "ends": "never"}, []
    values = {"unit": str(rule["type"]), "interval": str(rule["interval"]), "ends": "never"}
    if "count" in rule:
        values |= {"ends": "count", "count": str(rule["count"])}
    if "until_date" in rule:
        values |= {"ends": "until", "until_date": rule["until_date"]}
    return values, [str(day) for day in days]


def _plain_rule(template: TemplateMixin, rrule: str | None) -> Fields:
    return Recurrence(rrule, template.dtstart, template.timezone).to_json()


def _same_rule(template: TemplateMixin, rrule: str | None) -> bool:
    """Whether a rule says what the template's rule says: the same weekday may be written or implied."""
    plain = [_plain_rule(template, text) for text in (template.rrule, rrule)]
    for rule in plain:
        if rule["type"] == "weekly":
            rule["weekdays"] = rule.pop("weekdays", [rule.pop("weekday", template.dtstart.weekday())])
        if rule["type"] == "monthly" and "weekday" not in rule:
            rule.setdefault("month_day", template.dtstart.day)
    return plain[0] == plain[1]


def _limits(template: TemplateMixin) -> dict[str, str]:
    opens, closes = template.opens_days_before, template.closes_before
    return {
        "holidays": template.holidays or "",
        "blackouts": "\n".join(f"{first} to {last}" for first, last in template.blackouts or ()),
        "opens": "" if opens is None else str(opens),
        "closes": str(closes // _MINUTE) if closes else "",
    }
