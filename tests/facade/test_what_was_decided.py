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
    ONE,
    TWO,
    WAYS,
    Desk,
    assert_gone,
    assert_refused,
    assert_seen,
    by_facade,
    named,
)
from helpers import HALL
from marks import FIXTURES

from flask_rollingslots.errors import SlotClosed

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
#: Each way is tried on SQLite, at the doors that differ. On the others: one decision at the template, one of days, one
#: at the series.
SLOW_DOORS = {"edit all", "edit future", "http slot", "group", "scope, http"}
QUICK = {
    "sqlite": {("blackout", "edit future"), ("other rule", "http slot"), ("inactive", "edit all")},
    "postgresql": {("blackout", "change"), ("blackout", "orm"), ("series deleted", "http")},
    "mariadb": {("day excluded", "edit future"), ("earlier end", "orm"), ("closed", "facade")},
}


def _cases() -> Iterator[Any]:
    for database in FIXTURES:
        for way, each in WAYS.items():
            for door in each.take:
                is_quick = (way, door) in QUICK[database] or (database == "sqlite" and door not in SLOW_DOORS)
                marks = [] if is_quick else [pytest.mark.slow]
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
        assert named(answer) == {ONE, TWO} | ({FRIDAY} & named(answer))
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
