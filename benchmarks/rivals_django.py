"""A program of its own, run in an environment of its own (`peers.py` makes it): the weeks of two Django packages.

Reads one JSON object a line: ``what`` (``recurrence`` or ``scheduler``), ``templates``, ``began``, ``start``, ``end``
(ISO 8601, UTC), ``hours``, ``calls``. Answers ``seconds`` of all calls, and how many ``slots`` one of them found.
Each call is what a request does: one query for the offers, and their slots computed as the package's manual says.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from time import process_time
from typing import Any

import django  # type: ignore[import-not-found, unused-ignore]
from django.conf import settings  # type: ignore[import-not-found, unused-ignore]

HOUR = timedelta(hours=1)


def recurrence(wish: dict[str, Any]) -> Callable[[], int]:
    """Return the way of django-recurrence: a field with the rule, asked for what lies between two moments."""
    import recurrence as package  # type: ignore[import-not-found, unused-ignore]
    from django.db import connection, models  # type: ignore[import-not-found, unused-ignore]
    from recurrence.fields import RecurrenceField  # type: ignore[import-not-found, unused-ignore]

    class Offer(models.Model):  # type: ignore[misc, unused-ignore]
        title = models.CharField(max_length=200)
        began = models.DateTimeField()
        recurrences = RecurrenceField()

        class Meta:
            app_label = "club"

    with connection.schema_editor() as editor:
        editor.create_model(Offer)
    rule = package.Rule(package.DAILY, byhour=wish["hours"])
    for number in range(wish["templates"]):
        Offer.objects.create(
            title=f"Hall {number}", began=wish["began"], recurrences=package.Recurrence(rrules=[rule])
        )

    def week() -> int:
        found = []
        for offer in Offer.objects.all():
            for start in offer.recurrences.between(wish["start"], wish["end"], inc=True, dtstart=offer.began):
                if start < wish["end"]:
                    found.append((start, start + HOUR, offer))
        found.sort(key=lambda each: each[0])
        return len(found)

    return week


def scheduler(wish: dict[str, Any]) -> Callable[[], int]:
    """Return the way of django-scheduler: events with a rule, asked through a period.

    An event occurs once a day: of several hours in its rule, only that of its own start counts. So each hour is one.
    """
    from schedule.models import Calendar, Event, Rule  # type: ignore[import-not-found, unused-ignore]
    from schedule.periods import Period  # type: ignore[import-not-found, unused-ignore]

    calendar = Calendar.objects.create(name="Venue", slug="venue")
    rule = Rule.objects.create(name="each day", description="", frequency="DAILY")
    for number in range(wish["templates"]):
        for hour in wish["hours"]:
            start = wish["began"].replace(hour=hour)
            Event.objects.create(
                title=f"Hall {number}", start=start, end=start + HOUR, rule=rule, calendar=calendar
            )

    def week() -> int:
        return len(Period(calendar.events.all(), wish["start"], wish["end"]).get_occurrences())

    return week


def prepare() -> None:
    """Set Django up, on a database in memory."""
    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "schedule", "recurrence"],
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        SECRET_KEY="benchmark",  # noqa: S106 (of a database in memory)
        USE_TZ=True,
        TIME_ZONE="UTC",
    )
    django.setup()
    from django.core.management import call_command  # type: ignore[import-not-found, unused-ignore]

    call_command("migrate", verbosity=0)


def main() -> None:
    """Answer until there is nothing more to answer."""
    prepare()
    ways: dict[str, Callable[[], int]] = {}
    for line in sys.stdin:
        wish = json.loads(line)
        for name in ("began", "start", "end"):
            wish[name] = datetime.fromisoformat(wish[name])
        what = wish["what"]
        if what not in ways:
            ways[what] = {"recurrence": recurrence, "scheduler": scheduler}[what](wish)
        start = process_time()
        found = [ways[what]() for _ in range(wish["calls"])]
        answer = {"seconds": process_time() - start, "slots": found[-1]}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
