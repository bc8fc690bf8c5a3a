"""Slots of one series never overlap, whatever is booked, moved or shifted; and until when one may book them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from decided import Desk, assert_refused, assert_seen, by_facade, by_http, by_orm, named, of_fields
from helpers import meanwhile
from marks import FIXTURES, quick_databases, quick_on

from flask_rollingslots.errors import RollingSlotsError, SlotClosed, SlotFull

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: An hour each, for one party; Tuesday at eleven is booked.
COURT: dict[str, Any] = {
    "name": "Court",
    "rrule": "FREQ=DAILY",
    "dtstart": datetime(2025, 12, 1, 9),
    "timezone": "UTC",
    "duration": timedelta(hours=1),
    "every": timedelta(hours=1),
    "until_time": time(18),
    "capacity": 1,
}
ANN = 1
HALF = timedelta(minutes=30)

database_url = quick_databases("sqlite")


def at(clock: str, series: int = 1) -> str:
    """Return the key of Tuesday's slot that began at a time."""
    return f"{series}@20251230T{clock}"


@pytest.fixture
def court(database_url: str, tmp_path: Path) -> Iterator[Desk]:
    """The court, stored and booked on Tuesday at eleven."""
    court = Desk(database_url, tmp_path)
    with court.open():
        court.add(**COURT)
        court.top_up()
        court.book(at("1100"), "ann")
        yield court


def shown_at(desk: Desk, key: str) -> time:
    """Return when a slot begins, as it is shown, in UTC."""
    desk.session.rollback()
    found = {desk.slots.get(key).starts_at, next(s.starts_at for s in tuesday(desk) if s.key == key)}
    (start,) = found
    return start.time()


def tuesday(desk: Desk) -> list[Any]:
    """Return the slots of the day."""
    start = datetime(2025, 12, 30, tzinfo=UTC)
    return list(desk.slots.between(start, start + timedelta(days=1)))


def assert_one_at_a_time(desk: Desk) -> None:
    """Check that no two slots of the day that are booked, or could be, overlap."""
    desk.session.rollback()
    found = [s for s in tuesday(desk) if s.booked or s.is_bookable]
    spans = sorted((s.starts_at, s.ends_at) for s in found)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


# -- a series that moves by half an hour past a booked slot

LATER, EARLIER = HALF, -HALF


def moves(by: timedelta) -> dict[str, Callable[[Desk], Any]]:
    """Return how all slots are moved, at each door."""
    start = (datetime(2025, 12, 30, 10) + by).time()
    body, words = {"start": f"{start:%H:%M}"}, f"/slots/{at('1000')}"
    return {
        "edit all": by_facade("edit", at("1000"), "all", start=start),
        "edit future": by_facade(
            "edit", at("0900"), "this_and_future", start=time(9, 30) if by > 0 * by else time(8, 30)
        ),
        "http": by_http("PATCH", f"{words}?scope=all", body),
        "orm": by_orm(shift=by),
    }


QUICK_MOVES = {
    "sqlite": {("edit future", "later"), ("http", "earlier"), ("orm", "later")},
    "postgresql": {("edit all", "later")},
    "mariadb": {("orm", "earlier")},
}


def _moving() -> list[Any]:
    found = []
    for database in FIXTURES:
        for by, direction in ((LATER, "later"), (EARLIER, "earlier")):
            for door in moves(by):
                is_quick = (door, direction) in QUICK_MOVES[database]
                marks = [] if is_quick else [pytest.mark.slow]
                found.append(
                    pytest.param(database, door, by, id=f"{database}-{door}-{direction}", marks=marks)
                )
    return found


@pytest.mark.parametrize(("database_url", "door", "by"), _moving(), indirect=["database_url"])
def test_a_booked_slot_blocks_what_is_moved_over_it(court: Desk, door: str, by: timedelta) -> None:
    """Half an hour of the kept slot is nobody's; all others are open, and it is let go with its booking."""
    is_later = by > timedelta(0)
    crowded = at("1000") if is_later else at("1200")
    answer, at_once = moves(by)[door](court), door != "orm"
    if answer is not None:
        kept = answer["kept_booked"] if isinstance(answer, dict) else [str(r.key) for r in answer.kept_booked]
        assert kept == [at("1100")]
    for topped_up in (False, True):
        assert_seen(court, crowded, "blocked", sql=at_once or topped_up)
        assert_refused(court, crowded, "blocked")
        assert_seen(court, at("1100"), "full", 0, sql=at_once or topped_up)
        assert shown_at(court, at("1100")) == time(11)
        for clock in ("0900", "1200" if is_later else "1000", "1400", "1700"):
            assert_seen(court, at(clock), "open", 1, sql=at_once or topped_up)
        assert_one_at_a_time(court)
        court.top_up()
    court.release(ANN)
    for topped_up in (False, True):
        for key in (crowded, at("1100")):
            assert_seen(court, key, "open", 1)
        assert shown_at(court, at("1100")) == (time(11, 30) if is_later else time(10, 30))
        assert_one_at_a_time(court)
        if not topped_up:
            court.book(crowded, "eve")
            court.release(2)
            court.top_up()
    court.book(at("1100"), "kim")
    assert_seen(court, crowded, "open", 1)
    assert_seen(court, at("1100"), "full", 0)


@pytest.mark.parametrize("door", ["edit all", "orm"])
def test_a_completed_slot_blocks_what_is_moved_over_it(court: Desk, door: str) -> None:
    """A slot that was completed early keeps its time, and the places in it stand."""
    by_facade("complete", at("1100"))(court)
    moves(LATER)[door](court)
    for topped_up in (False, True):
        assert_seen(court, at("1000"), "blocked", sql=door != "orm" or topped_up)
        assert_refused(court, at("1000"), "blocked")
        assert_seen(court, at("1200"), "open", 1, sql=door != "orm" or topped_up)
        assert shown_at(court, at("1100")) == time(11)
        court.top_up()


GRIDS = of_fields({"dtstart": datetime(2025, 12, 1, 9, 30)}, {"dtstart": "2025-12-01T09:30"}, at("0900"))


@pytest.mark.parametrize(
    "door",
    [
        "change",
        "http template",
        "orm",
        *(pytest.param(d, marks=pytest.mark.slow) for d in ("edit all", "http slot")),
    ],
)
def test_a_new_grid_is_blocked_where_a_kept_slot_stands(court: Desk, door: str) -> None:
    """A grid that begins half an hour later has two slots that the booked one of the old grid is in the way of."""
    answer = GRIDS[door](court)
    if answer is not None:
        assert named(answer) == {at("1100")}
    blocked, free = (at("1030"), at("1130")), (at("0930"), at("1230"))
    for topped_up in (False, True):
        assert_seen_virtually(court, blocked, "blocked")
        assert_seen_virtually(court, free, "open")
        for key in blocked:
            with pytest.raises(SlotClosed) as caught:
                court.slots.book(key)
            assert caught.value.state == "blocked"  # type: ignore[attr-defined]
            court.session.rollback()
            assert court.http("POST", f"/slots/{key}/bookings", {}).json["state"] == "blocked"
        assert_seen(court, at("1100"), "withdrawn", sql=topped_up or door != "orm")
        assert_refused(court, at("1100"), "withdrawn")
        court.top_up()
    for key in blocked:
        assert_seen(court, key, "blocked")
    court.release(ANN)
    assert_seen(court, at("1100"), "withdrawn")
    for key in (*blocked, *free):
        assert_seen(court, key, "open", 1)
        court.book(key)
    court.top_up()
    assert_one_at_a_time(court)


def assert_seen_virtually(desk: Desk, keys: tuple[str, ...], state: str) -> None:
    """Check what is shown of slots that may have no row."""
    desk.session.rollback()
    shown = {s.key: str(s.state) for s in tuesday(desk)}
    listed = desk.done("GET", "/slots?start=2025-12-30T00:00:00Z&end=2025-12-31T00:00:00Z")["items"]
    for key in keys:
        found = {shown[key], str(desk.slots.get(key).state), *(s["state"] for s in listed if s["key"] == key)}
        assert found == {state}


def test_an_overlapping_series_blocks_nothing(sqlite_url: str, tmp_path: Path) -> None:
    """Whoever says that slots may overlap sells both."""
    with Desk(sqlite_url, tmp_path).open() as desk:
        desk.add(**COURT, overlapping=True)
        desk.top_up()
        desk.book(at("1100"))
        moves(LATER)["edit all"](desk)
        for _ in range(2):
            assert_seen(desk, at("1000"), "open", 1)
            desk.top_up()
        desk.book(at("1000"))
        by_facade("edit", at("1400"), "this", start=time(15))(desk)
        assert_seen(desk, at("1500"), "open", 1)
        desk.book(at("1500"))


# -- a slot that a person moves


def _by_attribute(clock: time, key: str) -> Callable[[Desk], None]:
    def act(desk: Desk) -> None:
        row = desk.own_query(key)
        row.starts_at = datetime.combine(date(2025, 12, 30), clock, UTC)
        row.ends_at = row.starts_at + timedelta(hours=1)
        desk.session.commit()

    return act


PERSONS: dict[str, Callable[[time, str], Callable[[Desk], Any]]] = {
    "facade": lambda clock, key: by_facade("edit", key, "this", start=clock),
    "http": lambda clock, key: by_http("PATCH", f"/slots/{key}", {"start": f"{clock:%H:%M}"}),
    "orm": _by_attribute,
}


def test_a_slot_that_a_person_moved_has_the_length_of_its_series(court: Desk) -> None:
    """Also once the time has passed at which its rule has it, until a top-up follows and after."""
    moved = at("1400")
    by_facade("edit", moved, "this", start=datetime(2025, 12, 31, 14))(court)
    by_orm(duration=HALF)(court)
    court.clock.now = datetime(2025, 12, 30, 14, 20, tzinfo=UTC)
    for _ in range(2):
        court.session.rollback()
        (shown,) = (slot for slot in court.slots.upcoming(1, 30) if slot.key == moved)
        assert shown.ends_at == datetime(2025, 12, 31, 14, 30, tzinfo=UTC)
        court.top_up()


@pytest.mark.parametrize("door", PERSONS)
def test_a_slot_that_a_person_moved_stands(court: Desk, door: str) -> None:
    """Over two others of its series, which are blocked until it is moved back, cancelled or deleted."""
    moved, others = at("1400"), (at("1500"), at("1600"))
    PERSONS[door](time(15, 30), moved)(court)
    for _ in range(2):
        for key in others:
            assert_seen(court, key, "blocked")
        assert_refused(court, others[1], "blocked")
        assert_seen(court, moved, "open", 1)
        assert_seen(court, at("1700"), "open", 1)
        assert shown_at(court, moved) == time(15, 30)
        assert_one_at_a_time(court)
        court.top_up()
    for away, back in (("cancel", "restore"), ("delete", "restore")):
        by_facade(away, moved)(court)
        assert_seen(court, others[0], "open", 1)
        by_facade(back, moved)(court)
        assert_seen(court, others[0], "blocked")
    PERSONS[door](time(14), moved)(court)
    for _ in range(2):
        for key in (moved, *others):
            assert_seen(court, key, "open", 1)
        court.top_up()
    for key in (moved, *others):
        court.book(key)
    assert_one_at_a_time(court)


# -- at once

A_MOMENT = 0.5


def outcome(error: BaseException | Any) -> str:
    """Return whether something was done, or refused."""
    if isinstance(error, RollingSlotsError):
        return "refused"
    assert not isinstance(error, BaseException), error
    return "done"


def both(desk: Desk, first: Callable[[], Any], second: Callable[[], Any]) -> list[str]:
    """Let one person decide, and before that is committed another one; return what became of both."""
    desk.session.rollback()
    try:
        first()
        found = ["done"]
    except RollingSlotsError:
        found = ["refused"]
        desk.session.rollback()
    thread, other = meanwhile(desk, second)
    thread.join(A_MOMENT)
    desk.session.commit()
    thread.join(60)
    return [*found, outcome(other[0])]


@quick_on(*FIXTURES)
@pytest.mark.parametrize("is_displaced_first", [True, False])
def test_of_two_that_overlap_one_is_booked(court: Desk, is_displaced_first: bool) -> None:
    """One stands where a person moved it, the other at its time; whoever is first, the moved one is sold alone."""
    PERSONS["facade"](time(15, 30), at("1400"))(court)
    keys = [at("1400"), at("1500")]
    calls = [lambda key=key: court.slots.book(key, who="zoe").id for key in keys]
    found = both(court, *(calls if is_displaced_first else reversed(calls)))
    assert sorted(found) == ["done", "refused"]
    assert_one_at_a_time(court)
    assert (court.own_query(keys[0]).booked, court.own_query(keys[1]).booked) == (1, 0)


@quick_on(*FIXTURES)
@pytest.mark.parametrize("is_booked_first", [True, False])
def test_a_slot_is_not_moved_over_one_that_is_being_booked(court: Desk, is_booked_first: bool) -> None:
    """One person moves a slot while another one books what lies there: one of them is refused."""
    calls = [
        lambda: court.slots.book(at("1500"), who="zoe").id,
        lambda: court.slots.edit(at("1400"), "this", start=time(15, 30)).key,
    ]
    found = both(court, *(calls if is_booked_first else reversed(calls)))
    assert found == ["done", "refused"]
    assert_one_at_a_time(court)


@quick_on(*FIXTURES)
@pytest.mark.parametrize("is_released_first", [True, False])
def test_a_kept_slot_is_given_back_while_another_is_booked(court: Desk, is_released_first: bool) -> None:
    """The slot that was kept is let go while somebody books what it blocks, and is booked again: never both."""
    moves(LATER)["edit all"](court)
    calls = [lambda: court.slots.release(ANN).id, lambda: court.slots.book(at("1000"), who="zoe").id]
    found = both(court, *(calls if is_released_first else reversed(calls)))
    assert "done" in found
    assert_one_at_a_time(court)
    found = both(
        court,
        lambda: court.slots.book(at("1100"), who="kim").id,
        lambda: court.slots.book(at("1000"), who="lea").id,
    )
    assert found[0] == "done"  # at its new time it is in nobody's way
    assert_one_at_a_time(court)
    assert shown_at(court, at("1100")) == time(11, 30)


# -- until when one may book

NINE = at("0900")


def booked_or_state(desk: Desk, key: str, moment: datetime) -> str:
    """Return ``booked`` if everybody can book a slot at a moment, else its state; nothing is left of it."""
    desk.clock.now = moment
    desk.session.rollback()
    row = desk.own_query(key)
    state, can_be_booked = str(row.state), row.is_bookable
    assert desk.in_sql(key, "state", "is_bookable") == (state, can_be_booked)
    found = [s for s in desk.slots.between(row.starts_at, row.ends_at) if s.key == key]
    assert [(str(s.state), s.is_bookable) for s in found] == [(state, can_be_booked)]
    answer = desk.http("POST", f"/slots/{key}/bookings", {})
    assert answer.status_code == (201 if can_be_booked else 409), answer.text
    if not can_be_booked:
        with pytest.raises(SlotClosed) as caught:
            desk.slots.book(key)
        desk.session.rollback()
        assert caught.value.state == state == answer.json["state"]  # type: ignore[attr-defined]
        return state
    desk.book(key)
    desk.slots.hold(key)
    desk.session.rollback()
    return f"{state}, booked"


def tuesday_at(*clock: int) -> datetime:
    """Return a moment of Tuesday."""
    return datetime(2025, 12, 30, *clock, tzinfo=UTC)


SECOND = timedelta(seconds=1)
OPEN, RUNNING = "open, booked", "running, booked"
#: What the template says, the same as JSON, and what a booking of Tuesday at nine is answered when.
LIMITS: dict[str, tuple[dict[str, Any], dict[str, Any], list[tuple[datetime, str]]]] = {
    "joined while it runs": (
        {"closes_before": timedelta(minutes=-30)},
        {"closes_before_minutes": -30},
        [
            (tuesday_at(8, 59), OPEN),
            (tuesday_at(9), RUNNING),
            (tuesday_at(9, 30) - SECOND, RUNNING),
            (tuesday_at(9, 30), "running"),
            (tuesday_at(10), "ended"),
        ],
    ),
    "joined until its end": (
        {"closes_before": timedelta(hours=-5)},
        {"closes_before_minutes": -300},
        [(tuesday_at(9, 59), RUNNING), (tuesday_at(10) - SECOND, RUNNING), (tuesday_at(10), "ended")],
    ),
    "until six the day before": (
        {"closes_days_before": 1, "closes_time": time(18)},
        {"closes_days_before": 1, "closes_time": "18:00"},
        [
            (datetime(2025, 12, 29, 17, 59, 59, tzinfo=UTC), OPEN),
            (datetime(2025, 12, 29, 18, tzinfo=UTC), "closed"),
            (tuesday_at(9), "running"),
        ],
    ),
    "from noon the day before": (
        {"opens_days_before": 1, "opens_time": time(12)},
        {"opens_days_before": 1, "opens_time": "12:00"},
        [
            (datetime(2025, 12, 29, 11, 59, 59, tzinfo=UTC), "upcoming"),
            (datetime(2025, 12, 29, 12, tzinfo=UTC), OPEN),
            (tuesday_at(9), "running"),
        ],
    ),
}


@pytest.mark.parametrize(
    "door", ["orm", *(pytest.param(door, marks=pytest.mark.slow) for door in ("change", "http template"))]
)
@pytest.mark.parametrize("limit", LIMITS)
@quick_on("sqlite")
def test_a_slot_is_booked_while_its_template_says(
    database_url: str, tmp_path: Path, limit: str, door: str
) -> None:
    """Exactly from and until the second that the template says, also for slots that were stored before."""
    fields, body, answers = LIMITS[limit]
    with Desk(database_url, tmp_path).open() as desk:
        desk.add(**{**COURT, "capacity": 50})
        desk.top_up()
        of_fields(fields, body)[door](desk)
        if door == "orm":
            assert (answers[0][1] == "upcoming") == (desk.own_query(NINE).state == "upcoming")
            desk.top_up()
        assert [booked_or_state(desk, NINE, moment) for moment, _ in answers] == [word for _, word in answers]


def test_a_night_closes_by_its_evening(sqlite_url: str, tmp_path: Path) -> None:
    """What a grid has after midnight is booked until the day before the evening, like the rest of the night."""
    with Desk(sqlite_url, tmp_path).open() as desk:
        bar = {"dtstart": datetime(2025, 12, 1, 20), "until_time": time(2), "capacity": 50}
        desk.add(**{**COURT, **bar}, closes_days_before=1, closes_time=time(18))
        desk.top_up()
        for key in (at("2300"), "1@20251231T0100"):
            assert booked_or_state(desk, key, datetime(2025, 12, 29, 17, 59, tzinfo=UTC)) == OPEN
            assert booked_or_state(desk, key, datetime(2025, 12, 29, 18, tzinfo=UTC)) == "closed"


@pytest.mark.parametrize("topped_up", [False, True])
def test_what_runs_on_a_day_that_was_closed_is_not_joined(
    sqlite_url: str, tmp_path: Path, topped_up: bool
) -> None:
    """Nobody new gets in, and is told that it runs: to try again would not help."""
    with Desk(sqlite_url, tmp_path).open() as desk:
        desk.add(**{**COURT, "capacity": 6}, closes_before=timedelta(minutes=-30))
        desk.top_up()
        desk.book(NINE, "ann")
        desk.clock.now = tuesday_at(9, 10)
        desk.book(NINE, "bob")
        by_orm(blackouts=[(date(2025, 12, 30), date(2025, 12, 30))])(desk)
        if topped_up:
            desk.top_up()
        assert not desk.own_query(NINE).is_bookable
        assert_refused(desk, NINE, "running")


JOINABLE = {**COURT, "capacity": 6, "closes_before": timedelta(minutes=-30)}
#: What ends the joining of a slot that runs: by a facade call, and what is shown of it then.
NO_MORE: dict[str, Callable[[Desk], object]] = {
    "capacity by ORM": by_orm(capacity=2),
    "capacity by facade": by_facade("change_template", 1, capacity=2),
    "notice by ORM": by_orm(closes_before=None),
    "notice by facade": by_facade("change_template", 1, closes_before=None),
    "deleted": by_facade("delete_series", 1),
    "cancelled": by_facade("cancel_future", 1, date(2025, 12, 30)),
    "switched off": by_facade("deactivate", 1),
}


@pytest.mark.parametrize("topped_up", [False, True])
@pytest.mark.parametrize("way", NO_MORE)
def test_what_may_be_joined_follows_its_template(
    sqlite_url: str, tmp_path: Path, way: str, topped_up: bool
) -> None:
    """A slot that runs is history only once nobody can get in: fewer places, and another notice, count until then."""
    with Desk(sqlite_url, tmp_path).open() as desk:
        desk.add(**JOINABLE)
        desk.top_up()
        desk.clock.now = tuesday_at(9, 10)
        desk.book(NINE, "ann")
        desk.book(NINE, "bob")
        NO_MORE[way](desk)
        if topped_up:
            desk.top_up()
        assert not desk.own_query(NINE).is_bookable
        with pytest.raises((SlotClosed, SlotFull)):
            desk.book(NINE, "eve")


# -- a slot whose time the clocks leave out, and that is kept for its booking

HOUR = timedelta(hours=1)
GAP, AFTER = "1@20260329T0200", "1@20260329T0300"


@pytest.mark.parametrize("door", ["edit all", "orm"])
def test_what_the_clocks_leave_out_blocks_its_place_while_it_is_kept(
    sqlite_url: str, tmp_path: Path, door: str
) -> None:
    """Of 02:00 to 04:00 the clocks leave 03:00 to 04:00: by the hour that is the next slot, until it is given back."""
    with Desk(sqlite_url, tmp_path, datetime(2026, 3, 27, 7, tzinfo=UTC)).open() as desk:
        night = {"dtstart": datetime(2026, 1, 1, 22), "until_time": time(4), "timezone": "Europe/Madrid"}
        desk.add(**COURT | night | {"every": 2 * HOUR, "duration": 2 * HOUR})
        desk.top_up()
        desk.book(GAP, "ann")
        by_the_hour = {"every": HOUR, "duration": HOUR}
        doors = {
            "edit all": by_facade("edit", "1@20260328T2200", "all", **by_the_hour),
            "orm": by_orm(**by_the_hour),
        }
        doors[door](desk)
        for topped_up in (False, True):
            assert_seen(desk, GAP, "withdrawn", sql=topped_up or door != "orm")
            assert str(desk.slots.get(AFTER).state) == "blocked"
            assert_refused(desk, AFTER, "blocked")
            desk.top_up()
        assert_seen(desk, AFTER, "blocked")
        desk.release(ANN)
        desk.top_up()
        assert_seen(desk, AFTER, "open", 1)
        desk.book(AFTER, "eve")
