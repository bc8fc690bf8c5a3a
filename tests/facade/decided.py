"""What a person may decide of a class, at each door that takes it, and what each door shows of its slots."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import Clock, Site
from sqlalchemy import select

from flask_rollingslots.errors import SlotClosed, SlotFull, SlotNotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TOKEN = "w" * 40
#: Monday; the Thursday of this week is New Year's Day.
NOW = datetime(2025, 12, 29, 8, tzinfo=UTC)
THURSDAY = date(2026, 1, 1)
#: Three classes an evening. Giving places back is over five days before.
CLASS: dict[str, Any] = {
    "name": "Class",
    "group": "club",
    "rrule": "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR",
    "dtstart": datetime(2025, 12, 1, 18),
    "timezone": "Europe/Madrid",
    "duration": timedelta(hours=1),
    "every": timedelta(hours=1),
    "until_time": time(21),
    "capacity": 12,
    "cancel_before": timedelta(days=5),
}
#: Nobody is in the first class of Thursday; somebody is in the second, and in the third.
EMPTY, ONE, TWO = (f"1@20260101T{hour}00" for hour in (18, 19, 20))
#: A slot of the class that stays, one by which the series is edited, and one of something else.
FRIDAY, TUESDAY, ELSEWHERE = "1@20260102T1800", "1@20251230T1800", "2@20260102T1000"


class Desk(Site):
    """A site with a stored week of the class, of which everybody can ask at each door."""

    def __init__(self, url: str, folder: Path, now: datetime = NOW) -> None:
        config = {"API_PREFIX": "/api", "API_TOKEN": TOKEN}
        super().__init__(url, folder, Clock(now), **{f"ROLLINGSLOTS_{name}": v for name, v in config.items()})

    @contextmanager
    def open(self) -> Iterator[Desk]:
        """Be inside of the app."""
        with self.app.app_context():
            yield self

    def template(self, number: int = 1) -> Any:
        """Return a template as it is committed."""
        self.session.rollback()
        return self.session.get(self.slots.Template, number)

    def own_query(self, key: str) -> Any:
        """Return the row at a key, by a query of the app's own; ``None``: there is no row."""
        cls, (series, start) = self.slots.Slot, key.split("@")
        at = datetime.strptime(start, "%Y%m%dT%H%M")  # noqa: DTZ007
        self.session.rollback()
        return self.session.scalar(select(cls).where(cls.series_id == int(series), cls.original_start == at))

    def in_sql(self, key: str, *names: str) -> tuple[Any, ...]:
        """Return expressions of the row at a key, as the database works them out."""
        cls, row = self.slots.Slot, self.own_query(key)
        columns = [getattr(cls, name) for name in names]
        return tuple(self.session.execute(select(*columns).where(cls.id == row.id)).one())

    def http(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Ask over HTTP, and read afterwards what is committed."""
        self.session.rollback()
        headers = {"Authorization": f"Bearer {TOKEN}", **headers}
        more = {} if body is None else {"json": body}
        answer = self.app.test_client().open(f"/api{path}", method=method, headers=headers, **more)
        self.session.rollback()
        return answer

    def done(self, method: str, path: str, body: Any = None) -> Any:
        """Decide over HTTP, which must succeed."""
        answer = self.http(method, path, body)
        assert answer.status_code in (200, 201, 204), answer.text
        return answer.json if answer.data else None

    def command(self, *words: str) -> str:
        """Decide on the command line, which must succeed."""
        self.session.rollback()
        result = self.app.test_cli_runner().invoke(args=["slots", *words])
        assert result.exit_code == 0, result.output
        self.session.rollback()
        return str(result.output)

    def book(self, key: str, who: str | None = None, party: int = 1) -> int:
        """Book and commit; return the booking's number."""
        self.session.rollback()
        booking = self.slots.book(key, party, who)
        self.session.commit()
        return int(booking.id)

    def release(self, booking: int, door: str = "facade") -> None:
        """Give a booking back."""
        if door == "http":
            self.done("DELETE", f"/bookings/{booking}")
            return
        self.session.rollback()
        self.slots.release(booking)
        self.session.commit()

    def top_up(self) -> None:
        """Fill the window."""
        self.session.rollback()
        self.slots.generate()
        self.session.rollback()


def by_facade(name: str, *args: Any, **named: Any) -> Callable[[Desk], Any]:
    """Return what asks the facade, and commits as an app does."""

    def act(desk: Desk) -> Any:
        desk.session.rollback()
        answer = getattr(desk.slots, name)(*args, **named)
        desk.session.commit()
        return answer

    return act


def by_http(method: str, path: str, body: Any = None) -> Callable[[Desk], Any]:
    """Return what asks over HTTP."""
    return lambda desk: desk.done(method, path, body)


def by_command(*words: str) -> Callable[[Desk], Any]:
    """Return what asks on the command line."""
    return lambda desk: desk.command(*words)


def by_orm(**fields: Any) -> Callable[[Desk], Any]:
    """Return what sets attributes of the template, as an admin page does."""

    def act(desk: Desk) -> None:
        template = desk.template()
        for name, value in fields.items():
            setattr(template, name, value)
        desk.session.commit()

    return act


#: Door -> how something is decided there.
Doors = dict[str, "Callable[[Desk], Any]"]


def of_fields(fields: dict[str, Any], body: dict[str, Any], key: str = TUESDAY) -> Doors:
    """Return how a template's fields are changed at each door.

    :param body: the same fields as JSON.
    :param key: of the slot by which the series is edited.
    """
    later = f"/slots/{key}?scope=this_and_future"
    return {
        "change": by_facade("change_template", 1, **fields),
        "edit all": by_facade("edit", key, "all", **fields),
        "edit future": by_facade("edit", key, "this_and_future", **fields),
        "http template": by_http("PATCH", "/templates/1", body),
        "http slot": by_http("PATCH", later, body),
        "orm": by_orm(**fields),
    }


@dataclass
class Way:
    """A way to take slots away, and how it is taken back at the same door.

    :param state: what the slots are by then. ``reason``: what `explain` may say instead.
    :param all_of_day: whether the classes that nobody has booked go too.
    :param is_shown: whether lists show the slots.
    :param ends: whether it ends all of the series, not only this day.
    """

    take: Doors
    back: Doors
    state: str = "withdrawn"
    reason: str = "withdrawn"
    all_of_day: bool = True
    is_shown: bool = True
    ends: bool = False


def fields_way(name: str, value: Any, shown: Any, back: Any, back_shown: Any, **more: Any) -> Way:
    """Return the way that one field of the template is."""
    return Way(of_fields({name: value}, {name: shown}), of_fields({name: back}, {name: back_shown}), **more)


_OPEN = {"first": "2026-01-01", "reopen": True}
_STARTS = [datetime(2026, 1, 1, 19), datetime(2026, 1, 1, 20)]
WEEKDAYS = CLASS["rrule"]
_RESTORE: Doors = {
    "facade": by_facade("restore_series", 1),
    "http": by_http("POST", "/templates/1/restore", {}),
    "command": by_command("restore-series", "1"),
}


def _each(act: Callable[[str], Callable[[Desk], Any]]) -> Callable[[Desk], Any]:
    def both(desk: Desk) -> None:
        for key in (ONE, TWO):
            act(key)(desk)

    return both


WAYS: dict[str, Way] = {
    "blackout": fields_way(
        "blackouts", [(THURSDAY, THURSDAY)], [["2026-01-01", "2026-01-01"]], [], None, reason="blackout"
    ),
    "day excluded": fields_way("exdates", [THURSDAY], ["2026-01-01"], [], None, reason="excluded"),
    "starts excluded": fields_way(
        "exdates",
        _STARTS,
        ["2026-01-01T19:00", "2026-01-01T20:00"],
        [],
        [],
        reason="excluded",
        all_of_day=False,
    ),
    "holidays": fields_way("holidays", "ES", "ES", None, None, reason="holiday"),
    "other rule": fields_way(
        "rrule", *["FREQ=WEEKLY;BYDAY=MO,TU,WE,FR"] * 2, *[WEEKDAYS] * 2, reason="not_in_rule"
    ),
    "earlier end": fields_way(
        "until_time", time(19), "19:00", time(21), "21:00", reason="not_in_rule", all_of_day=False
    ),
    "inactive": fields_way(
        "active", False, False, True, True, reason="template_inactive", is_shown=False, ends=True
    ),
    "switched off": Way(
        {"facade": by_facade("deactivate", 1), "group": by_facade("deactivate", group="club")},
        {"facade": by_facade("activate", 1), "group": by_facade("activate", group="club")},
        reason="template_inactive",
        is_shown=False,
        ends=True,
    ),
    "closed": Way(
        {
            "facade": by_facade("close", THURSDAY, template=1, reason="Paint"),
            "group": by_facade("close", date(2025, 12, 31), THURSDAY, group="club"),
            "http": by_http("POST", "/closings", {"first": "2026-01-01", "template": 1}),
            "command": by_command("close", "2026-01-01", "--template", "1"),
        },
        {
            "facade": by_facade("reopen", THURSDAY, template=1),
            "group": by_facade("reopen", THURSDAY, group="club"),
            "http": by_http("POST", "/closings", {**_OPEN, "template": 1}),
            "command": by_command("close", "2026-01-01", "--template", "1", "--reopen"),
        },
        reason="blackout",
    ),
    "series deleted": Way(
        {
            "facade": by_facade("delete_series", 1),
            "http": by_http("DELETE", "/templates/1"),
            "scope": by_facade("delete", TUESDAY, "this_and_future"),
            "scope, http": by_http("DELETE", f"/slots/{TUESDAY}?scope=all"),
        },
        {
            "facade": _RESTORE["facade"],
            "http": _RESTORE["http"],
            "scope": by_facade("restore", TUESDAY, "this_and_future"),
            "scope, http": by_http("POST", f"/slots/{TUESDAY}/restore?scope=all", {}),
        },
        ends=True,
    ),
    "series cancelled": Way(
        {
            "facade": by_facade("cancel_future", 1, THURSDAY, "Paint"),
            "http": by_http("POST", "/templates/1/cancel-future", {"from_date": "2026-01-01"}),
            "command": by_command("cancel-future", "1", "2026-01-01"),
            "scope": by_facade("cancel", EMPTY, "this_and_future"),
        },
        {**_RESTORE, "scope": by_facade("restore", EMPTY, "this_and_future")},
        state="cancelled",
        reason="cancelled",
        ends=True,
    ),
    "day cancelled": Way(
        {
            "facade": by_facade("cancel_date", "club", THURSDAY),
            "http": by_http("POST", "/cancelled-days", {"day": "2026-01-01", "group": "club"}),
            "command": by_command("cancel-date", "2026-01-01", "--group", "club"),
        },
        dict.fromkeys(("facade", "command"), _each(lambda key: by_facade("restore", key)))
        | {"http": _each(lambda key: by_http("POST", f"/slots/{key}/restore", {}))},
        state="cancelled",
        reason="cancelled",
    ),
}


def named(answer: Any) -> set[str]:
    """Return the keys of the booked slots that the answer to a decision names."""
    if isinstance(answer, str):
        by_words = {ONE: ("ann", "19:00"), TWO: ("bob", "20:00")}
        return {k for k, words in by_words.items() if k in answer or all(word in answer for word in words)}
    if isinstance(answer, dict):
        found = [*answer.get("kept_booked", ()), *answer.get("booked", ())]
        found += [each["key"] for each in answer.get("bookings", ())]
        return set(found) | (named(answer["edit"]) if answer.get("edit") else set())
    if hasattr(answer, "plan"):
        return named(answer.plan)
    if hasattr(answer, "bookings"):
        return {booking.slot.key for booking in answer.bookings}
    return {str(getattr(each, "key", each)) for each in [*answer.kept_booked, *getattr(answer, "booked", ())]}


# -- what each door shows


def span(key: str) -> tuple[datetime, datetime]:
    """Return the days around a slot."""
    day = datetime.strptime(key.split("@")[1], "%Y%m%dT%H%M").replace(tzinfo=UTC)
    return day - timedelta(days=1), day + timedelta(days=1)


def seen(desk: Desk, key: str, is_shown: bool = True) -> dict[str, dict[str, Any]]:
    """Return state and places of a slot, by the door that shows them, each asked anew."""
    start, end = span(key)
    row = desk.own_query(key)
    found = {"own query": row} | ({"get": desk.slots.get(key)} if is_shown else {})
    shown = {
        name: {"state": str(s.state), "left": s.left, "open": s.is_bookable} for name, s in found.items()
    }
    words = {"start": start.isoformat(), "end": end.isoformat()}
    template = row.template_id
    query = "&".join(f"{name}={value.replace('+', '%2B')}" for name, value in words.items())
    lists = {
        "between": [
            {"key": s.key, "state": str(s.state), "left": s.left, "open": s.is_bookable}
            for s in desk.slots.between(start, end, template=template)
        ],
        "GET /slots": desk.done("GET", f"/slots?{query}&template={template}")["items"],
        "feed.json": [
            {"key": event["id"], **event["extendedProps"]}
            for event in desk.done("GET", f"/feed.json?{query}&template={template}")
        ],
    }
    for name, slots in lists.items():
        mine = [slot for slot in slots if slot["key"] == key]
        assert len(mine) == is_shown, (name, mine)
        if mine:
            shown[name] = {each: mine[0][each] for each in ("state", "left", "open") if each in mine[0]}
    return shown


def assert_seen(
    desk: Desk, key: str, state: str, left: int | None = None, sql: bool = True, **how: Any
) -> None:
    """Check that all doors show the same of a slot, and that it can be booked only if it is open.

    :param sql: whether the database says it too, by what is stored.
    """
    shown = seen(desk, key, **how)
    assert {name: each["state"] for name, each in shown.items()} == dict.fromkeys(shown, state)
    can_be_booked = [each["open"] for each in shown.values() if "open" in each]
    assert can_be_booked == [state == "open"] * len(can_be_booked)
    if left is not None:
        assert {name: each["left"] for name, each in shown.items()} == dict.fromkeys(shown, left)
    if sql:
        expected = (state, state == "open", left)
        assert desk.in_sql(key, "state", "is_bookable", "left")[: 2 + (left is not None)] == (
            expected if left is not None else expected[:2]
        )


def assert_refused(desk: Desk, key: str, state: str, mover: int | None = None) -> None:
    """Check that nobody new gets into a slot: by booking, holding or moving, at the facade and over HTTP."""
    tries: list[Callable[[], Any]] = [
        lambda: desk.slots.book(key, who="zoe"),
        lambda: desk.slots.hold(key, who="zoe"),
    ]
    if mover is not None:
        tries.append(lambda: desk.slots.move(mover, key))
    for call in tries:
        desk.session.rollback()
        with pytest.raises(SlotFull if state == "full" else SlotClosed) as caught:
            call()
        if state != "full":
            assert caught.value.state == state  # type: ignore[attr-defined]
        desk.session.rollback()
    for body in ({}, {"who": "zoe", "hold_minutes": 5}):
        answer = desk.http("POST", f"/slots/{key}/bookings", body)
        assert (answer.status_code, answer.json.get("state", "full")) == (409, state), answer.text


def assert_gone(desk: Desk, key: str) -> None:
    """Check that a slot that nobody has booked is not offered any more."""
    start, end = span(key)
    desk.session.rollback()
    assert not [s for s in desk.slots.between(start, end) if s.key == key and s.is_bookable]
    with pytest.raises((SlotClosed, SlotNotFound)):
        desk.slots.book(key)
    desk.session.rollback()
    assert desk.http("POST", f"/slots/{key}/bookings", {}).status_code in (404, 409)
