"""The form for a new template: what was typed, what is wrong with it, and the fields that come of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from flask_rollingslots.errors import InvalidRule, InvalidTemplate
from flask_rollingslots.recurrence import template_fields

from .venues import find_venue

if TYPE_CHECKING:
    from werkzeug.datastructures import MultiDict

UNITS = {"daily": "days", "weekly": "weeks", "monthly": "months"}
ENDS = {"never": "never", "count": "after a number of dates", "until": "on a date"}
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_FAR = timedelta(days=3660)
_LONGEST_NUMBER = 6

#: Which input an error of the library belongs to.
_INPUTS = {
    "type": "unit",
    "weekday": "weekdays",
    "duration": "length",
    "dtstart": "first_date",
    "every": "grid_every",
    "until_time": "grid_until",
    "end": "ends",
    "group": "venue",
    "timezone": "venue",
}
_LABELS = {
    "venue": "Venue",
    "name": "Name",
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
}


@dataclass
class TemplateForm:
    """What somebody typed, with an error for each input that is wrong."""

    values: dict[str, str]
    weekdays: list[str] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)

    @classmethod
    def blank(cls, today: date) -> TemplateForm:
        """Return the form with which a new template begins."""
        return cls(
            {
                "first_date": today.isoformat(),
                "start_time": "10:00",
                "length": "60",
                "interval": "1",
                "unit": "daily",
                "ends": "never",
                "capacity": "2",
            }
        )

    @classmethod
    def read(cls, sent: MultiDict[str, str]) -> TemplateForm:
        """Return what was sent."""
        return cls({name: sent.get(name, "").strip() for name in _LABELS}, sent.getlist("weekdays"))

    @property
    def messages(self) -> dict[str, str]:
        """The errors by input, each beginning with the input's name."""
        return {name: f"{_LABELS.get(name, 'Form')}: {text}" for name, text in self.errors.items()}

    def fields(self) -> dict[str, Any] | None:
        """Return the fields of the template; ``None`` if something is wrong, said in ``errors``."""
        venue = find_venue(self.values.get("venue"))
        if venue is None:
            self.errors["venue"] = "Choose one from the list."
        own = {
            "name": self.values["name"] or None,
            "capacity": self._whole("capacity"),
            "duration": timedelta(minutes=self._whole("length") or 0),
        }
        if own["name"] is None:
            self.errors["name"] = "Write what people book."
        rule, start = self._rule(), self._first_start()
        if self.errors or venue is None or start is None:
            return None
        try:
            made = template_fields(rule, dtstart=start, timezone=venue.timezone)[0]
        except InvalidRule as error:
            self.refuse(error)
            return None
        return {**made, **own, "group": venue.slug}

    def refuse(self, error: InvalidRule | InvalidTemplate) -> None:
        """Put an error of the library beside the input that it is about."""
        part = str(error.details.get("part") or error.details.get("field") or "")
        expected = error.details.get("expected")
        name = _INPUTS.get(part, part)
        if name not in _LABELS:
            self.errors["form"] = f"{error}."
        else:
            self.errors[name] = f"Expected {expected}." if expected else f"{error}."

    def _rule(self) -> dict[str, Any]:
        """Return the repetition as a JSON dialect object; absent inputs are ``None``."""
        ends = self.values["ends"]
        rule: dict[str, Any] = {
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
        if day is not None and abs(day - date.today()) > _FAR:  # noqa: DTZ011 (a bound, to the year)
            self.errors["first_date"] = "Choose a date within ten years of today."
        return None if day is None else datetime(day.year, day.month, day.day)  # noqa: DTZ001 (wall clock)

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
