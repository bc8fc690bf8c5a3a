"""What a person decided holds from its commit on, through every door: a day that is taken away, fewer places."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from decided import (
    CLASS,
    ELSEWHERE,
    EMPTY,
    FRIDAY,
    NOW,
    ONE,
    TWO,
    WAYS,
    Desk,
    assert_gone,
    assert_refused,
    assert_seen,
    by_facade,
    named,
    of_fields,
)
from marks import FIXTURES

from flask_rollingslots.errors import SlotClosed, SlotFull

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def desk(database_url: str, tmp_path: Path) -> Iterator[Desk]:
    """The class, stored, with Ann in one slot and Bob in another one that was cancelled and restored before."""
    desk = Desk(database_url, tmp_path)
    with desk.open():
        desk.add(**CLASS)
        desk.add(name="Yoga", group="other")
        desk.top_up()
        assert (desk.book(ONE, "ann"), desk.book(TWO, "bob"), desk.book(ELSEWHERE, "max")) == (1, 2, 3)
        for decision in ("cancel", "restore"):
            by_facade(decision, TWO)(desk)
        yield desk


ANN, BOB, MAX = 1, 2, 3
#: Each way is tried on SQLite, at one door; the others are slow tests. On the other databases: one decision each.
QUICK = {
    "sqlite": {
        ("blackout", "orm"),
        ("day excluded", "change"),
        ("starts excluded", "http template"),
        ("holidays", "edit all"),
        ("other rule", "orm"),
        ("earlier end", "http slot"),
        ("inactive", "edit future"),
        ("switched off", "facade"),
        ("closed", "command"),
        ("series deleted", "http"),
        ("series cancelled", "scope"),
        ("day cancelled", "facade"),
    },
    "postgresql": {("blackout", "change")},
    "mariadb": {("earlier end", "orm")},
}


def _cases() -> Iterator[Any]:
    for database in FIXTURES:
        for way, each in WAYS.items():
            for door in each.take:
                marks = [] if (way, door) in QUICK[database] else [pytest.mark.slow]
                yield pytest.param(database, way, door, id=f"{database}-{way}-{door}", marks=marks)


@pytest.mark.parametrize(("database_url", "way", "door"), list(_cases()), indirect=["database_url"])
def test_a_day_that_was_taken_away_sells_nothing(desk: Desk, way: str, door: str) -> None:
    """Who is booked keeps the place and nobody new gets in, top-up or not, until it is taken back."""
    decision = WAYS[way]
    state, how, at_once = decision.state, {"is_shown": decision.is_shown}, door != "orm"
    with pytest.raises(SlotClosed):
        desk.slots.release(ANN)  # it is too late
    answer = decision.take[door](desk)
    if answer is not None and way != "switched off":
        assert named(answer) == {ONE, TWO}
    for key in (ONE, TWO):
        assert_seen(desk, key, state, sql=at_once, **how)
        assert_refused(desk, key, state, MAX)
    if decision.all_of_day:
        assert_gone(desk, EMPTY)
    assert desk.slots.get_booking(ANN).status == "confirmed"
    desk.release(BOB, "http")
    assert_seen(desk, TWO, state, sql=at_once, **how)
    assert_refused(desk, TWO, state)

    desk.top_up()
    for key in (ONE, TWO):
        assert_seen(desk, key, state, **how)
    assert_refused(desk, ONE, state, MAX)
    assert decision.ends or desk.slots.get(FRIDAY).is_bookable
    said = desk.slots.explain(1, desk.own_query(ONE).starts_at)
    assert said.code in (state, decision.reason), said
    assert (desk.slots.get_booking(ANN).status, desk.own_query(ONE).booked) == ("confirmed", 1)
    desk.release(ANN)
    assert_seen(desk, ONE, state, **how)
    desk.top_up()
    assert_seen(desk, ONE, state, **how)
    assert_refused(desk, ONE, state, MAX)

    decision.back[door](desk)
    for key, who in ((ONE, "eve"), (TWO, "kim")):
        assert_seen(desk, key, "open", 12, sql=at_once)
        desk.book(key, who)
    desk.top_up()
    assert desk.done("POST", f"/slots/{TWO}/bookings", {"who": "lea"})["status"] == "confirmed"
    assert_seen(desk, TWO, "open", 10)


# -- slots that a person brought back alone


@pytest.mark.parametrize(
    ("way", "door"),
    [
        pytest.param("blackout", "change", marks=pytest.mark.slow),
        ("blackout", "orm"),
        pytest.param("inactive", "http template", marks=pytest.mark.slow),
        ("series deleted", "facade"),
        ("series deleted", "http"),
        pytest.param("series cancelled", "command", marks=pytest.mark.slow),
        pytest.param("closed", "http", marks=pytest.mark.slow),
        pytest.param("switched off", "facade", marks=pytest.mark.slow),
    ],
)
def test_a_slot_that_came_back_alone_goes_with_the_next_decision(
    sqlite_url: str, tmp_path: Path, way: str, door: str
) -> None:
    """Brought back although its series has ended, it is offered; what is decided later takes it away again."""
    with Desk(sqlite_url, tmp_path).open() as desk:
        desk.add(**CLASS)
        desk.top_up()
        numbers = [desk.book(ONE, "ann"), desk.book(TWO, "bob")]
        # Over HTTP the same moment is decided again.
        since = NOW if door == "http" else datetime(2025, 12, 30, tzinfo=UTC)
        by_facade("cancel_future", 1, since)(desk)
        for key in (ONE, TWO):
            by_facade("restore", key)(desk)
            assert_seen(desk, key, "open", 11)
        decision = WAYS[way]
        decision.take[door](desk)
        for topped_up in (False, True):
            for key in (ONE, TWO):
                assert_seen(
                    desk, key, decision.state, sql=topped_up or door != "orm", is_shown=decision.is_shown
                )
                assert_refused(desk, key, decision.state)
            if topped_up:
                desk.release(numbers[0])
                assert_refused(desk, ONE, decision.state)
            desk.top_up()
        decision.back[door](desk)
        desk.top_up()
        assert_seen(desk, ONE, "open", 12)
        assert_seen(desk, TWO, "open", 11)
        for key in (ONE, TWO):
            desk.book(key, "eve")


# -- capacity and the app's own data

FEWER, MORE = (of_fields({"capacity": places}, {"capacity": places}) for places in (3, 10))
#: In three weeks: nobody has a row for it.
VIRTUAL = "1@20260123T1800"
QUICK_CAPACITY = {
    "sqlite": {"http template", "orm"},
    "postgresql": {"orm"},
    "mariadb": {"change"},
}


def _of_capacity() -> list[Any]:
    found = []
    for database in FIXTURES:
        for door in FEWER:
            for first in ("sale", "top-up"):
                is_quick = door in QUICK_CAPACITY[database] and first == "sale"
                marks = [] if is_quick else [pytest.mark.slow]
                found.append(
                    pytest.param(database, door, first, id=f"{database}-{door}-{first}", marks=marks)
                )
    return found


@pytest.mark.parametrize(("database_url", "door", "first"), _of_capacity(), indirect=["database_url"])
def test_fewer_places_sell_no_more(database_url: str, tmp_path: Path, door: str, first: str) -> None:
    """Five are booked when three places are left: nothing is sold until enough is given back, top-up or not."""
    with Desk(database_url, tmp_path).open() as desk:
        desk.add(**{**CLASS, "capacity": 10, "cancel_before": None})
        desk.top_up()
        numbers = [desk.book(ONE, f"guest {number}") for number in range(5)]
        by_facade("edit", TWO, "this", capacity=6)(desk)
        answer, at_once = FEWER[door](desk), door != "orm" or first == "top-up"
        if answer is not None:
            assert overbooked(answer) == [ONE]
        if first == "top-up":
            desk.top_up()
        assert_seen(desk, ONE, "full", 0, sql=at_once)
        assert_refused(desk, ONE, "full")
        for number in numbers[:2]:
            desk.release(number, "http")
        assert_seen(desk, ONE, "full", 0, sql=at_once)
        assert_refused(desk, ONE, "full")
        desk.release(numbers[2])
        assert_seen(desk, ONE, "open", 1, sql=at_once)
        with pytest.raises(SlotFull):
            desk.slots.book(ONE, 2)
        desk.book(ONE, "eve")
        assert_seen(desk, ONE, "full", 0)  # whoever books brings the row in line
        desk.top_up()
        assert_seen(desk, ONE, "full", 0)
        assert_seen(desk, TWO, "open", 6)
        assert_seen(desk, FRIDAY, "open", 3)
        assert desk.slots.get(VIRTUAL).left == 3
        MORE[door](desk)
        assert_seen(desk, ONE, "open", 7, sql=door != "orm")
        assert_seen(desk, TWO, "open", 6)
        assert desk.slots.get(VIRTUAL).left == 10
        desk.book(ONE, "kim", party=6)
        desk.top_up()
        assert_seen(desk, ONE, "open", 1)


def overbooked(answer: Any) -> list[str]:
    """Return the keys of the slots in which more is booked by now than there are places."""
    plan = answer.get("edit", answer) if isinstance(answer, dict) else getattr(answer, "plan", answer)
    found = plan["overbooked"] if isinstance(plan, dict) else plan.overbooked
    return sorted(str(getattr(each, "key", each)) for each in found)


@pytest.mark.parametrize("in_place", [False, True])
def test_data_set_through_the_orm_reaches_all_slots(any_url: str, tmp_path: Path, in_place: bool) -> None:
    """Booked or not, stored or virtual; a slot whose data a person changed keeps its own."""
    with Desk(any_url, tmp_path).open() as desk:
        desk.add(**{**CLASS, "data": {"room": "A"}})
        desk.top_up()
        desk.book(ONE, "ann")
        by_facade("edit", TWO, "this", data={"room": "garden"})(desk)
        template = desk.template()
        if in_place:
            template.data["room"] = "B"
        else:
            template.data = {"room": "B"}
        desk.session.commit()
        assert desk.slots.get(VIRTUAL).data == {"room": "B"}
        desk.top_up()
        rooms = {key: desk.own_query(key).data["room"] for key in (EMPTY, ONE, TWO, FRIDAY)}
        assert rooms == {EMPTY: "B", ONE: "B", TWO: "garden", FRIDAY: "B"}
        shown = desk.done("GET", "/slots?start=2026-01-01T00:00:00Z&end=2026-01-02T00:00:00Z")["items"]
        assert {slot["key"]: slot["data"]["room"] for slot in shown}[ONE] == "B"
