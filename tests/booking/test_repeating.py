"""A person's series: the same slot every week, all of it or what is free, and what becomes of it afterwards."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from marks import DATABASES, quick_databases, quick_on

from flask_rollingslots import signals
from flask_rollingslots.errors import (
    IdempotencyConflict,
    InvalidRequest,
    LimitReached,
    SlotClosed,
    SlotFull,
    SlotNotFound,
)

if TYPE_CHECKING:
    from helpers import Site

database_url = quick_databases("sqlite")

KEY = "1@20260106T1000"
TUESDAYS = [f"1@2026{day}T1000" for day in ("0106", "0113", "0120", "0127")]


def weeks(*days: str, hour: str = "10") -> list[str]:
    """Return the keys of some days."""
    return [f"1@2026{day}T{hour}00" for day in days]


def live(site: Site) -> list[tuple[str, str | None, int | None]]:
    """Return the key, the person and the series of each booking that takes places, by start."""
    site.session.rollback()
    cls = site.slots.Booking
    found = [each for each in site.session.scalars(site.db.select(cls)) if each.is_live]
    return sorted((each.slot.key, each.who, each.repeats_id) for each in found)


def refused(site: Site, kind: type[Exception], *args: Any, **named: Any) -> Any:
    """Return the report of a refusal, which left nothing."""
    rows = [(slot.key, slot.booked) for slot in site.rows()]
    before = live(site)
    with pytest.raises(kind) as caught:
        site.slots.book_series(*args, **named)
    site.session.commit()
    assert live(site) == before
    assert [(slot.key, slot.booked) for slot in site.rows()] == rows
    return caught.value.report  # type: ignore[attr-defined]


@quick_on(*DATABASES)
def test_the_same_slot_every_week(site: Site) -> None:
    """Stored and virtual ones, in order; each knows the first one, has its own token and the same person."""
    site.add(capacity=3)
    site.slots.generate()
    report = site.slots.book_series(
        KEY, 4, party=2, who="ada", name="Ada", contact="ada@example.org", note="chalk"
    )
    site.session.commit()
    assert (report.booked, list(report.keys), report.refused) == (TUESDAYS, TUESDAYS, ())
    first = report.bookings[0]
    assert live(site) == [(key, "ada", first.id) for key in TUESDAYS]
    assert {each.person for each in report.bookings} == {("Ada", "ada@example.org", "chalk")}
    assert len({each.token for each in report.bookings}) == 4
    assert [site.slots.get(key).left for key in TUESDAYS] == [1] * 4
    assert report.to_dict()["bookings"] == [each.id for each in report.bookings]
    assert report.repeats_id == first.repeats_id == first.id


def test_until_a_day_and_every_second_week(site: Site) -> None:
    """The last day is included, by the clock of the template; ``count`` is of what is tried."""
    site.add(timezone="Europe/Madrid", capacity=9)
    by_count = site.slots.book_series(KEY, count=3, every=2)
    assert list(by_count.keys) == weeks("0106", "0120", "0203")
    assert list(site.slots.book_series(KEY, until=date(2026, 1, 20)).keys) == TUESDAYS[:3]
    assert list(site.slots.book_series(KEY, until=date(2026, 1, 19)).keys) == TUESDAYS[:2]
    assert list(site.slots.book_series(KEY, until=date(2026, 1, 6), every=3).keys) == TUESDAYS[:1]
    far = site.slots.book_series(KEY, count=104, every=52)
    assert (far.keys[-1], len(far.bookings)) == ("1@21280831T1000", 104)


def test_the_wall_clock_counts(site: Site) -> None:
    """10:00 stays 10:00 over a change of the clocks."""
    site.add(timezone="Europe/Madrid")
    report = site.slots.book_series("1@20260324T1000", count=2)
    starts = [each.slot.starts_at for each in report.bookings]
    assert starts == [datetime(2026, 3, 24, 9, tzinfo=UTC), datetime(2026, 3, 31, 8, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("named", "field"),
    [
        ({}, "count"),
        ({"count": 2, "until": date(2026, 2, 1)}, "count"),
        ({"count": 0}, "count"),
        ({"count": 105}, "count"),
        ({"count": True}, "count"),
        ({"count": "4"}, "count"),
        ({"count": 2, "every": 0}, "every"),
        ({"count": 2, "every": None}, "every"),
        ({"count": 2, "every": 53}, "every"),
        ({"until": date(2026, 1, 5)}, "until"),
        ({"until": date(2028, 2, 1)}, "until"),
        ({"until": datetime(2026, 2, 1)}, "until"),
        ({"until": "2026-02-01"}, "until"),
        ({"count": 2, "conflicts": "ask"}, "conflicts"),
        ({"count": 2, "party": 0}, "party"),
        ({"count": 2, "name": "a\x00b"}, "name"),
    ],
)
def test_what_makes_no_sense(sqlite_site: Site, named: dict[str, Any], field: str) -> None:
    """The error names the argument, and of count and until both."""
    sqlite_site.add()
    with pytest.raises(InvalidRequest) as caught:
        sqlite_site.slots.book_series(KEY, **named)
    assert caught.value.field == field  # type: ignore[attr-defined]
    assert field != "count" or "count" in named or "until" in str(caught.value)
    assert live(sqlite_site) == []
    assert sqlite_site.rows() == []


def test_beyond_the_calendar(sqlite_site: Site) -> None:
    """Who asks for starts in the year 9999 is told; so is who names no series."""
    sqlite_site.add()
    with pytest.raises(InvalidRequest, match="before the year"):
        sqlite_site.slots.book_series("1@99890106T1000", 104)
    with pytest.raises(SlotNotFound):
        sqlite_site.slots.book_series("9@20260106T1000", 2)


# --- conflicts ---------------------------------------------------------------------------------------------------


def spoil(site: Site) -> None:
    """Offer slots for two; the second week is full for two, the third one cancelled, the fourth a day off."""
    site.add(capacity=2, blackouts=[(date(2026, 1, 27), date(2026, 1, 27))])
    site.slots.book(TUESDAYS[1])
    site.slots.cancel(TUESDAYS[2])
    site.session.commit()


@quick_on(*DATABASES)
def test_all_or_nothing(site: Site) -> None:
    """One week that cannot be: nothing is written, no row either, nobody is told; the report names every such week."""
    spoil(site)
    told: list[Any] = []
    signals.slot_booked.connect(lambda _, **facts: told.append(facts), weak=False, sender=site.app)
    report = refused(site, SlotFull, KEY, 5, party=2, who="ada")
    assert (report.bookings, report.repeats_id, told) == ((), None, [])
    assert [(each.key, each.code) for each in report.refused] == [
        (TUESDAYS[1], "slot_full"),
        (TUESDAYS[2], "slot_closed"),
        (TUESDAYS[3], "slot_not_found"),
    ]
    assert "places left" in report.refused[0].text
    assert len(site.slots.book_series(KEY, 1, party=2).bookings) == 1


def test_what_is_free_is_booked(site: Site) -> None:
    """``skip`` leaves out what cannot be, says why, and names the nearest three free slots of the same offer."""
    spoil(site)
    report = site.slots.book_series(KEY, 5, conflicts="skip", party=2, who="ada")
    site.session.commit()
    assert report.booked == weeks("0106", "0203")
    full, cancelled, off = report.refused
    assert [each.key for each in full.nearest] == [f"1@20260113T{hour}00" for hour in (11, 12, 13)]
    assert [each.left for each in full.nearest] == [2, 2, 2]
    assert cancelled.nearest[0].key == "1@20260120T1100"
    assert off.starts_at == datetime(2026, 1, 27, 10, tzinfo=UTC)
    assert [each.key for each in off.nearest] == [f"1@20260126T{hour}00" for hour in (17, 16, 15)]
    assert report.to_dict()["refused"][0] == {
        "key": TUESDAYS[1],
        "starts_at": "2026-01-13T10:00:00+00:00",
        "code": "slot_full",
        "text": full.text,
        "nearest": [each.to_dict() for each in full.nearest],
    }


def test_nothing_of_it_is_free(site: Site) -> None:
    """With ``skip`` that is an answer, too."""
    site.add(every=None, until_time=None, capacity=1, rrule="FREQ=WEEKLY;BYDAY=TU")
    for key in TUESDAYS:
        site.slots.book(key)
    site.session.commit()
    report = site.slots.book_series(KEY, 4, conflicts="skip")
    assert (report.bookings, [each.code for each in report.refused]) == ((), ["slot_full"] * 4)
    assert [each.key for each in report.refused[3].nearest] == weeks("0203", "0210", "0217")


def test_the_first_one_is_not_there(site: Site) -> None:
    """The weeks are counted from a start that the rule has not; the series begins with the first that is booked."""
    site.add(exdates=[datetime(2026, 1, 6, 10)])
    report = site.slots.book_series(KEY, 3, conflicts="skip", who="ada")
    site.session.commit()
    assert report.booked == TUESDAYS[1:3]
    assert live(site) == [(key, "ada", report.bookings[0].id) for key in TUESDAYS[1:3]]
    refused(site, SlotNotFound, KEY, 2)


def test_an_exclusive_court(site: Site) -> None:
    """A week in which the court is taken by another offer is ``slot_blocked``."""
    shape = {"duration": timedelta(hours=1), "capacity": 1, "resource": "court", "exclusive": True}
    for _ in range(2):
        site.add(**shape)
    site.slots.book("2@20260113T1000")
    site.session.commit()
    report = refused(site, SlotClosed, KEY, 3)
    assert [(each.key, each.code) for each in report.refused] == [(TUESDAYS[1], "slot_blocked")]
    assert site.slots.book_series(KEY, 3, conflicts="skip").booked == [TUESDAYS[0], TUESDAYS[2]]


def test_a_persons_limits(site: Site) -> None:
    """A week in which this person has enough is refused by that; without a ``who`` the whole makes no sense."""
    site.add(capacity=9, max_per_person_week=2)
    site.slots.book("1@20260115T1200", party=2, who="ada")
    site.session.commit()
    report = refused(site, LimitReached, KEY, 3, who="ada")
    assert [(each.key, each.code) for each in report.refused] == [(TUESDAYS[1], "limit_reached")]
    report = site.slots.book_series(KEY, 3, who="ada", conflicts="skip")
    site.session.commit()
    assert report.booked == [TUESDAYS[0], TUESDAYS[2]]
    for wrong in ({"party": 3, "who": "bob"}, {}):
        with pytest.raises((InvalidRequest, LimitReached)):
            site.slots.book_series(KEY, 2, **wrong)
        site.session.rollback()
    assert len(site.slots.book_series(KEY, 3, who="ada", override=True).bookings) == 3


def test_staff_books_what_is_full(site: Site) -> None:
    """With ``override`` full and begun weeks are booked, and each says so; cancelled ones and days off stay refused."""
    spoil(site)
    report = site.slots.book_series(KEY, 4, party=2, conflicts="skip", override=True)
    site.session.commit()
    assert report.booked == TUESDAYS[:2]
    assert all(booking.override for booking in report.bookings)
    assert [each.code for each in report.refused] == ["slot_closed", "slot_not_found"]
    assert site.slots.get(TUESDAYS[1]).booked == 3


def test_who_waits_comes_first(site: Site) -> None:
    """Places that a series gives back are offered; a week that somebody waits for is full."""
    site.add(capacity=2, waiting=4)
    report = site.slots.book_series(KEY, 2, party=2, who="ada")
    waiting = site.slots.wait(TUESDAYS[1], who="bob")
    site.session.commit()
    assert refused(site, SlotFull, KEY, 2, who="eve").refused[1].code == "slot_full"
    site.slots.release(report.bookings[0], following=True)
    site.session.commit()
    assert (waiting.status, bool(waiting.is_offer)) == ("held", True)


def test_each_is_told_once(site: Site) -> None:
    """One signal for each booking, in order, with the person who acts."""
    spoil(site)
    told: list[Any] = []
    signals.slot_booked.connect(
        lambda _, booking, slot, who, **more: told.append((slot.key, booking.repeats_id, who)),
        weak=False,
        sender=site.app,
    )
    report = site.slots.book_series(KEY, 2, who="ada")
    assert told == [(key, report.bookings[0].id, "ada") for key in TUESDAYS[:2]]


# --- the same request again --------------------------------------------------------------------------------------


def test_the_same_request_again(site: Site) -> None:
    """It gives the same report, also after a booking moved; one that was given back is told as that."""
    spoil(site)
    asked: dict[str, Any] = {
        "count": 5,
        "conflicts": "skip",
        "party": 2,
        "who": "ada",
        "idempotency_key": "k",
    }
    first = site.slots.book_series(KEY, **asked)
    site.session.commit()
    before = live(site)
    again = site.slots.book_series(KEY, **asked)
    site.session.commit()
    assert again.to_dict() == first.to_dict()
    assert live(site) == before
    moved = site.slots.move(first.bookings[0], "1@20260107T1200")
    site.session.commit()
    assert site.slots.book_series(KEY, **asked).bookings == (moved, first.bookings[1])
    site.slots.release(moved)
    site.session.commit()
    third = site.slots.book_series(KEY, **asked)
    assert third.bookings == (first.bookings[1],)
    assert "released" in third.refused[0].text
    site.slots.release(first.bookings[1])
    with pytest.raises(IdempotencyConflict, match="none is left"):
        site.slots.book_series(KEY, **asked)


def test_what_became_free_is_not_booked_by_a_repetition(site: Site) -> None:
    """The second time is an answer, no second booking."""
    site.add(capacity=1)
    other = site.slots.book(TUESDAYS[1])
    asked: dict[str, Any] = {"count": 2, "conflicts": "skip", "who": "ada", "idempotency_key": "k"}
    site.slots.book_series(KEY, **asked)
    site.slots.release(other)
    site.session.commit()
    again = site.slots.book_series(KEY, **asked)
    site.session.commit()
    assert (again.booked, [each.key for each in again.refused]) == ([KEY], [TUESDAYS[1]])
    assert "by now it could" in again.refused[0].text
    assert site.slots.get(TUESDAYS[1]).left == 1


def test_the_same_request_after_another_party(site: Site) -> None:
    """A party that was changed meanwhile is no other request."""
    site.add(capacity=4)
    asked: dict[str, Any] = {"count": 2, "party": 2, "who": "ada", "idempotency_key": "k"}
    report = site.slots.book_series(KEY, **asked)
    site.slots.change_party(report.bookings[1], 3)
    site.session.commit()
    assert site.slots.book_series(KEY, **asked).bookings == report.bookings


@pytest.mark.parametrize("change", [{"party": 2}, {"count": 3}, {"count": 1}, {"every": 2}])
def test_a_key_for_something_else(site: Site, change: dict[str, Any]) -> None:
    """Another party or other weeks under the same key are refused; so is a single booking, and the other way round."""
    site.add(capacity=4)
    asked: dict[str, Any] = {"count": 2, "party": 1, "who": "ada", "idempotency_key": "k"}
    site.slots.book_series(KEY, **asked)
    site.session.commit()
    for act in (
        lambda: site.slots.book_series(KEY, **{**asked, **change}),
        lambda: site.slots.book(KEY, who="ada", idempotency_key="k"),
    ):
        with pytest.raises(IdempotencyConflict, match="was used for"):
            act()
    site.slots.book(KEY, who="bob", idempotency_key="k")
    with pytest.raises(IdempotencyConflict, match="was used for"):
        site.slots.book_series(KEY, 2, who="bob", idempotency_key="k")


# --- afterwards --------------------------------------------------------------------------------------------------


def series_of(site: Site, **fields: Any) -> Any:
    """Offer two places an hour, and book four weeks."""
    site.add(**{"capacity": 2, **fields})
    report = site.slots.book_series(KEY, 4, who="ada")
    site.session.commit()
    return report


@quick_on(*DATABASES)
def test_given_back_one_by_one_or_from_one_on(site: Site) -> None:
    """One; or this one and all later ones, with one signal each; what is gone already is passed over."""
    report = series_of(site)
    one, two, three, four = report.bookings
    site.slots.release(one)
    site.slots.release(three)
    site.session.commit()
    told: list[Any] = []
    signals.booking_released.connect(
        lambda _, booking, **more: told.append(booking.id), weak=False, sender=site.app
    )
    assert site.slots.release(two, following=True) == [two, four]
    site.session.commit()
    assert (told, live(site)) == ([two.id, four.id], [])
    assert [slot.booked for slot in site.rows()] == [0] * 4
    assert site.slots.release(two, following=True) == []
    alone = site.slots.book(KEY)
    assert site.slots.release(alone, following=True) == [alone]


def test_too_late_for_one_is_too_late_for_all(site: Site) -> None:
    """Nothing is half done: the error names what stays; from the next one on it is possible, and staff may always."""
    report = series_of(site, cancel_before=timedelta(days=8))
    before = live(site)
    with pytest.raises(SlotClosed) as caught:
        site.slots.release(report.bookings[0], following=True)
    site.session.commit()
    assert caught.value.too_late == TUESDAYS[:1]  # type: ignore[attr-defined]
    assert live(site) == before
    assert len(site.slots.release(report.bookings[2], following=True)) == 2
    assert len(site.slots.release(report.bookings[0], override=True, following=True)) == 2
    site.session.commit()
    assert live(site) == []


def test_what_moved_still_belongs_to_it(site: Site) -> None:
    """Also into another series; it is later by where it is now."""
    report = series_of(site)
    site.add(name="Lawn")
    moved = site.slots.move(report.bookings[1], "2@20260601T1000")
    site.session.commit()
    assert moved.repeats_id == report.repeats_id
    gone = site.slots.release(report.bookings[2], following=True)
    site.session.commit()
    assert gone == [report.bookings[2], report.bookings[3], moved]
    assert [key for key, *_ in live(site)] == [KEY]


def test_an_edit_carries_them(site: Site) -> None:
    """A new time from the third week on: who is told to move does, the others keep theirs; all stay one series."""
    report = series_of(site)
    site.slots.edit(TUESDAYS[2], "this_and_future", start=time(12), move_booked=True)
    site.session.commit()
    starts = [each.slot.starts_at.hour for each in report.bookings]
    assert starts == [10, 10, 12, 12]
    assert {each.slot.template_id for each in report.bookings} == {1, 2}
    # The identity of the slots is the same, so the series goes on over the cut.
    more = site.slots.book_series(KEY, 6, who="bob", conflicts="skip")
    site.session.commit()
    assert more.booked == [*TUESDAYS, *weeks("0203", "0210")]
    assert [each.slot.starts_at.hour for each in more.bookings] == [10, 10, 12, 12, 12, 12]
    assert len(site.slots.release(report.bookings[1], following=True)) == 3


def test_a_closed_day_and_a_cut(site: Site) -> None:
    """A day that is closed, and a series that ends, keep who has booked and name them; nobody new gets in."""
    report = series_of(site)
    closed = site.slots.close(date(2026, 1, 13), reason="Storm")
    assert [each.id for each in closed.bookings] == [report.bookings[1].id]
    ended = site.slots.cancel_future(1, date(2026, 1, 27))
    assert [each.id for each in ended.bookings] == [report.bookings[3].id]
    site.session.commit()
    assert len(live(site)) == 4
    found = refused(site, SlotClosed, KEY, 4, who="bob")
    assert [(each.key, each.code) for each in found.refused] == [
        (TUESDAYS[1], "slot_closed"),
        (TUESDAYS[3], "slot_closed"),
    ]
    assert len(site.slots.release(report.bookings[0], following=True)) == 4


def test_until_means_the_day_that_is_shown(site: Site) -> None:
    """A series that was moved to Wednesday is until a Wednesday."""
    site.add(every=None, until_time=None, rrule="FREQ=WEEKLY;BYDAY=TU", dtstart=datetime(2026, 1, 6, 10))
    site.slots.edit(KEY, "all", start=datetime(2026, 1, 7, 10))
    site.session.commit()
    assert list(site.slots.book_series(KEY, until=date(2026, 1, 21)).keys) == TUESDAYS[:3]
    assert list(site.slots.book_series(KEY, until=date(2026, 1, 20), conflicts="skip").keys) == TUESDAYS[:2]


def test_the_nearest_slots_have_machines_for_the_party(site: Site) -> None:
    """Those for which the pool has too little are passed over, though they have places of their own."""
    pool = {"resource": "machines", "pool": 3}
    site.add(capacity=3, **pool)
    site.add(name="Course", capacity=3, duration=timedelta(hours=3), every=None, until_time=None, **pool)
    site.slots.book(TUESDAYS[0], party=2)
    site.slots.book("2@20260106T1000", party=1)
    site.slots.book("1@20260106T1100", party=1)
    site.session.commit()
    report = site.slots.book_series(TUESDAYS[0], 1, party=2, conflicts="skip")
    assert [each.key for each in report.refused[0].nearest] == [
        f"1@20260106T{hour}00" for hour in (12, 13, 14)
    ]
