"""The waiting list: who may wait, who is offered what gets free, in which order, and whom a slot is full for."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import Site, meanwhile
from marks import DATABASES, quick_databases, quick_on
from sqlalchemy import event, select

from flask_rollingslots import browsing, signals
from flask_rollingslots.errors import (
    HoldExpired,
    IdempotencyConflict,
    InvalidRequest,
    LimitReached,
    SlotClosed,
    SlotFull,
    StatusConflict,
)

if TYPE_CHECKING:
    from collections.abc import Callable

database_url = quick_databases("sqlite")

KEY = "1@20260106T1000"
#: An hour that has its own series: nothing of its time is in the way.
COURT: dict[str, Any] = {"every": None, "until_time": None, "resource": "court", "exclusive": True}


def full(site: Site, capacity: int = 1, party: int = 1, **fields: Any) -> list[int]:
    """Let a slot be booked to the last place, and return the ids of its bookings."""
    site.add(**{"capacity": capacity, "waiting": 10, **fields})
    site.slots.generate()
    made = [site.slots.book(KEY, party, who=f"guest {n}").id for n in range(capacity // party)]
    site.session.commit()
    return made


def wait(site: Site, *parties: int, key: str = KEY) -> list[int]:
    """Let people wait, one after the other, and return the ids of their bookings."""
    made = [site.slots.wait(key, party, who=f"waits {n}").id for n, party in enumerate(parties)]
    site.session.commit()
    return made


def statuses(site: Site, ids: list[int]) -> list[str]:
    """Return what is stored of some bookings."""
    site.session.rollback()
    return [site.session.get(site.slots.Booking, number).status for number in ids]


def check(site: Site) -> None:
    """Each slot counts what its bookings say, and knows who waits; its state in SQL is that in Python."""
    site.session.rollback()
    booking = site.slots.Booking
    for row in site.rows():
        of_slot = site.session.scalars(select(booking).where(booking.slot_id == row.id)).all()
        assert row.booked == sum(each.party for each in of_slot if each.status in ("held", "confirmed"))
        waiting = {each.id: each.party for each in of_slot if each.status == "waiting"}
        assert dict(row.queue or ()) == waiting
        assert row.waits_for == min(waiting.values(), default=None)
    check_states(site)


def check_states(site: Site) -> None:
    """SQL says of each slot what Python says."""
    slot = site.slots.Slot
    found = dict(site.session.execute(select(slot.id, slot.state)).all())
    assert found == {row.id: row.state for row in site.rows()}
    bookable = set(site.session.scalars(select(slot.id).where(slot.is_bookable)))
    assert bookable == {row.id for row in site.rows() if row.is_bookable}


# --- who may wait -----------------------------------------------------------------------------------------------


@quick_on(*DATABASES)
def test_to_wait_takes_no_places_and_keeps_the_order(site: Site) -> None:
    """Whoever waits knows how many are before; released, they are out of the queue."""
    full(site)
    first, second, third = wait(site, 1, 1, 1)

    def get(number: int) -> Any:
        return site.session.get(site.slots.Booking, number)

    assert [get(number).ahead for number in (first, second, third)] == [0, 1, 2]
    assert not get(first).is_live
    slot = site.slots.get(KEY)
    assert (slot.booked, slot.queue, slot.waits_for) == (1, [[first, 1], [second, 1], [third, 1]], 1)
    site.slots.release(second)
    site.session.commit()
    assert [get(number).ahead for number in (first, second, third)] == [0, None, 1]
    assert statuses(site, [second]) == ["released"]
    site.slots.release(second)
    check(site)


def test_who_is_refused(site: Site) -> None:
    """Free places are to be booked; without a list nobody waits, nor beyond its length, nor for more than there is."""
    site.add(capacity=2, waiting=3)
    site.slots.generate()
    with pytest.raises(StatusConflict, match="2 of 2 places left: book them"):
        site.slots.wait(KEY)
    site.slots.book(KEY)
    with pytest.raises(InvalidRequest, match="party = 3"):
        site.slots.wait(KEY, 3)
    with pytest.raises(StatusConflict):
        site.slots.wait(KEY)
    assert site.slots.wait(KEY, 2).ahead == 0
    site.slots.book(KEY)  # nobody who fits waits
    with pytest.raises(
        SlotFull, match="waiting list of slot 1@20260106T1000 has 1 of 3 places left, 2 asked for"
    ) as e:
        site.slots.wait(KEY, 2)
    assert (e.value.left, e.value.party) == (1, 2)
    site.session.commit()
    check(site)
    site.slots.change_template(1, waiting=0)
    with pytest.raises(StatusConflict, match="no waiting list"):
        site.slots.wait(KEY)


@pytest.mark.parametrize("moment", ["upcoming", "closed", "running", "ended", "cancelled", "inactive"])
def test_a_slot_that_takes_nobody_has_no_queue(site: Site, moment: str) -> None:
    """Whoever may not book may not wait."""
    full(site, opens_before=timedelta(days=1, hours=4), closes_before=timedelta(hours=2))
    turns = {"upcoming": -3, "closed": 24.5, "running": 26.5, "ended": 28}
    site.clock.turn(hours=turns.get(moment, 1))
    if moment == "cancelled":
        site.slots.cancel(KEY)
    elif moment == "inactive":
        site.slots.deactivate(1)
    with pytest.raises(SlotClosed, match=moment):
        site.slots.wait(KEY)


def test_the_same_person_waits_once(site: Site) -> None:
    """The same request again is the same booking, also once it is offered; another number of places is refused."""
    (booked,) = full(site, capacity=2, party=2)
    first = site.slots.wait(KEY, 2, who="ada", name="Ada", note="by the window")
    site.session.commit()
    assert site.slots.wait(KEY, 2, who="ada") is first
    with pytest.raises(StatusConflict, match="waits for 2 places already"):
        site.slots.wait(KEY, 1, who="ada")
    assert site.slots.wait(KEY, 2).id != first.id  # nobody knows who that is
    site.slots.release(booked)
    site.session.commit()
    assert (first.status, first.name, first.note) == ("held", "Ada", "by the window")
    assert site.slots.wait(KEY, 2, who="ada") is first
    with pytest.raises(StatusConflict, match="is offered 2 places already"):
        site.slots.wait(KEY, 1, who="ada")
    site.clock.turn(minutes=60)
    again = site.slots.wait(KEY, 1, who="ada")
    assert (again.status, first.status, site.slots.wait(KEY, 1, who="ada")) == ("waiting", "expired", again)
    site.session.commit()
    check(site)


def test_a_key_is_of_one_request(site: Site) -> None:
    """With an idempotency key the same request gets its booking, whatever became of it; a booking has another one."""
    (booked,) = full(site)
    first = site.slots.wait(KEY, who="ada", idempotency_key="k")
    site.session.commit()
    assert site.slots.wait(KEY, who="ada", idempotency_key="k") is first
    with pytest.raises(IdempotencyConflict):
        site.slots.book(KEY, who="ada", idempotency_key="k")
    with pytest.raises(IdempotencyConflict):
        site.slots.wait("1@20260106T1100", who="ada", idempotency_key="k")
    site.session.rollback()
    site.slots.release(booked)
    site.session.commit()
    assert site.slots.wait(KEY, who="ada", idempotency_key="k") is first
    assert site.slots.confirm(first).status == "confirmed"
    site.session.commit()
    assert site.slots.wait(KEY, who="ada", idempotency_key="k") is first
    check(site)


def test_to_wait_counts_towards_the_limits(site: Site) -> None:
    """So an offer never comes above one; staff's booking goes past who waits."""
    full(site, max_party=2, max_per_person_day=2, capacity=3)
    site.slots.book("1@20260106T1100", who="ada")
    with pytest.raises(LimitReached, match="max_per_person_day"):
        site.slots.wait(KEY, 2, who="ada")
    with pytest.raises(InvalidRequest, match="who = None"):
        site.slots.wait(KEY)
    with pytest.raises(InvalidRequest, match="party = 3"):
        site.slots.wait(KEY, 3, who="bob")
    site.session.rollback()
    site.slots.book("1@20260106T1100", who="ada")
    assert site.slots.wait(KEY, who="ada").ahead == 0
    with pytest.raises(LimitReached):
        site.slots.book("1@20260106T1200", who="ada")
    assert site.slots.book(KEY, who="friend of the house", override=True).status == "confirmed"
    site.session.commit()
    check(site)


def test_a_virtual_slot_is_booked(site: Site) -> None:
    """A slot without a row is free, and gets none."""
    site.add(waiting=3)
    with pytest.raises(StatusConflict, match="book"):
        site.slots.wait(KEY)
    site.session.commit()
    assert site.rows() == []


def test_what_waits_is_neither_moved_nor_confirmed(site: Site) -> None:
    """There is nothing to exchange, and nothing to confirm."""
    full(site)
    (waiting,) = wait(site, 1)
    with pytest.raises(StatusConflict, match="is waiting: it cannot be moved"):
        site.slots.move(waiting, "1@20260106T1100")
    with pytest.raises(StatusConflict, match="is waiting: it cannot be confirmed"):
        site.slots.confirm(waiting)
    check(site)


# --- offers -----------------------------------------------------------------------------------------------------


def test_an_offer_is_a_hold(site: Site) -> None:
    """It lasts OFFER_MINUTES, counts in no limit on holds, and becomes a booking when it is confirmed."""
    booked = full(site, capacity=4)
    waiting = wait(site, 1, 1, 1, 1)
    for number in booked:
        site.slots.release(number)
    site.session.commit()
    assert statuses(site, waiting) == ["held"] * 4
    offer = site.session.get(site.slots.Booking, waiting[0])
    assert (offer.is_offer, offer.ahead, offer.is_live) == (True, None, True)
    assert offer.expires_at == site.clock.now + timedelta(minutes=60)
    check(site)
    site.slots.confirm(offer)
    site.session.commit()
    assert statuses(site, waiting) == ["confirmed", "held", "held", "held"]
    check(site)


def test_offers_do_not_count_as_holds_of_a_person(site: Site) -> None:
    """Whoever is offered places by four slots may still hold."""
    keys = [f"1@2026010{day}T1000" for day in (6, 7, 8, 9)]
    site.add(waiting=3)
    booked = [site.slots.book(key) for key in keys]
    for key in keys:
        site.slots.wait(key, who="ada")
    for each in booked:
        site.slots.release(each)
    site.session.commit()
    assert site.slots.hold("1@20260106T1100", who="ada", minutes=5).status == "held"


def test_an_offer_ends_when_the_slot_starts(site: Site) -> None:
    """Also where its minutes would last longer; it is offered after booking has closed, too."""
    (booked,) = full(site, closes_before=timedelta(hours=3))
    wait(site, 1)
    site.clock.now = datetime(2026, 1, 6, 9, 30, tzinfo=UTC)
    site.slots.release(booked)
    site.session.commit()
    offer = site.session.get(site.slots.Booking, 2)
    assert offer.expires_at == datetime(2026, 1, 6, 10, tzinfo=UTC)
    assert site.slots.confirm(offer).status == "confirmed"
    check(site)


def test_a_template_may_book_at_once(site: Site) -> None:
    """With ``waiting_auto`` nobody has to confirm; those who listen are told of a booking."""
    (booked,) = full(site, waiting_auto=True)
    waiting = wait(site, 1, 1)
    told: list[Any] = []

    def note(sender: Any, booking: Any, slot: Any, who: Any, **more: Any) -> None:
        told.append((booking.id, slot.key, who))

    with signals.slot_booked.connected_to(note, sender=site.app), site.slots.acting("deputy"):
        site.slots.release(booked)
    site.session.commit()
    assert told == [(waiting[0], KEY, "deputy")]
    assert statuses(site, waiting) == ["confirmed", "waiting"]
    assert site.session.get(site.slots.Booking, waiting[0]).expires_at is None
    check(site)


def test_signals_of_the_waiting_list(site: Site) -> None:
    """Who begins to wait, and who is offered: each once, in order, inside the transaction."""
    (booked,) = full(site)
    told: list[Any] = []

    def note(name: str) -> Callable[..., None]:
        return lambda sender, booking, slot, who, **more: told.append(
            (name, booking.who, booking.status, who)
        )

    kept = [(each, note(each)) for each in ("booking_waiting", "booking_offered", "booking_released")]
    for name, receiver in kept:
        getattr(signals, name).connect(receiver, sender=site.app)
    site.slots.wait(KEY, who="ada")
    site.slots.wait(KEY, who="ada")
    site.slots.release(booked)
    site.session.commit()
    assert told == [
        ("booking_waiting", "ada", "waiting", "ada"),
        ("booking_released", "guest 0", "released", None),
        ("booking_offered", "ada", "held", None),
    ]


def test_the_first_that_fits(site: Site) -> None:
    """Who needs more than there is waits on; who comes later and fits is offered first; what is left is for others."""
    booked = full(site, capacity=4)
    waiting = wait(site, 3, 2, 1)
    site.slots.release(booked[0])
    site.session.commit()
    assert statuses(site, waiting) == ["waiting", "waiting", "held"]
    site.slots.release(booked[1])
    site.session.commit()
    assert (statuses(site, waiting), site.slots.get(KEY).state) == (["waiting", "waiting", "held"], "open")
    check(site)
    site.slots.book(KEY, who="quick")  # nobody who waits fits in one place
    site.session.commit()
    site.slots.release(booked[2])
    site.slots.release(booked[3])
    site.session.commit()
    assert statuses(site, waiting) == ["waiting", "held", "held"]
    check(site)


def test_an_offer_that_is_not_taken_goes_on(site: Site) -> None:
    """Released, at once; expired, with the next call that writes about the slot, or the next top-up."""
    (booked,) = full(site)
    waiting = wait(site, 1, 1, 1)
    site.slots.release(booked)
    site.session.commit()
    site.slots.release(waiting[0])
    site.session.commit()
    assert statuses(site, waiting) == ["released", "held", "waiting"]
    site.clock.turn(minutes=60)
    with pytest.raises(HoldExpired):
        site.slots.confirm(waiting[1])
    site.session.rollback()
    slot, work = site.slots.get(KEY), site.app.extensions["rollingslots"].reading()
    assert (slot.left, slot.state, slot.is_bookable) == (1, "full", False)
    assert browsing.holes(work, [slot]) == {1}  # a page that shows it asks for a top-up
    check_states(site)
    site.slots.wait(KEY, who="one more")
    site.session.commit()
    assert statuses(site, waiting) == ["released", "expired", "held"]
    assert browsing.holes(work, [slot]) == set()
    check(site)
    site.clock.turn(minutes=60)
    site.slots.generate()
    assert statuses(site, [waiting[2], waiting[2] + 1]) == ["expired", "held"]
    check(site)


# --- nobody overtakes -------------------------------------------------------------------------------------------


@quick_on(*DATABASES)
def test_nobody_overtakes(site: Site) -> None:
    """As long as somebody who fits waits, the slot is full for others, who leave nothing behind."""
    full(site, capacity=3, closes_before=-timedelta(minutes=30))
    other = site.slots.book("1@20260106T1100", who="mover").id
    site.slots.release(1)
    site.slots.hold(KEY, who="gone", minutes=9)
    site.session.commit()
    wait(site, 1)
    site.clock.turn(minutes=9)
    before = [(row.key, row.booked, row.queue, row.holds) for row in site.rows()]
    for act in (
        lambda: site.slots.book(KEY, who="quick"),
        lambda: site.slots.hold(KEY, who="quick"),
        lambda: site.slots.move(other, KEY),
    ):
        with pytest.raises(SlotFull, match="kept for whoever waits"):
            act()
        site.session.rollback()
    assert [(row.key, row.booked, row.queue, row.holds) for row in site.rows()] == before
    site.clock.now = datetime(
        2026, 1, 6, 10, tzinfo=UTC
    )  # it has begun, and may be joined: waiting has ended
    slot = site.slots.get(KEY)
    assert (slot.state, slot.is_bookable) == ("running", True)
    check_states(site)
    site.slots.book(KEY, who="late")
    site.session.commit()
    with pytest.raises(SlotClosed, match="running"):
        site.slots.wait(KEY)


def test_a_party_that_fits_where_who_waits_does_not(site: Site) -> None:
    """What expired holds give back counts for who waits before it counts for others."""
    full(site, capacity=3)
    site.slots.release(1)
    site.slots.hold(KEY, who="gone", minutes=9)
    site.slots.release(2)
    site.slots.hold(KEY, who="gone, too", minutes=30)
    site.session.commit()
    (waiting,) = wait(site, 2)
    site.clock.turn(minutes=9)
    assert site.slots.get(KEY).state == "open"
    site.slots.book(KEY, who="quick")
    site.session.commit()
    site.clock.turn(minutes=21)
    assert site.slots.get(KEY).state == "open"  # one place, and two are waited for
    site.slots.release(3)
    site.session.commit()
    assert statuses(site, [waiting]) == ["held"]
    check(site)


# --- what frees places ------------------------------------------------------------------------------------------


def by_capacity(scope: str) -> Callable[[Site], Any]:
    """Give a slot one place more."""
    return lambda site: site.slots.edit(KEY, scope, capacity=2)


def by_orm(site: Site) -> None:
    """Change the template behind everybody's back, and top up."""
    site.session.get(site.slots.Template, 1).capacity = 2
    site.session.commit()
    site.slots.generate()


def by_move(site: Site) -> Any:
    """Let the guest move."""
    return site.slots.move(1, "1@20260106T1100")


FREEING: dict[str, Callable[[Site], Any]] = {
    "release": lambda site: site.slots.release(1),
    "staff": lambda site: site.slots.release(1, override=True),
    "move": by_move,
    "this": by_capacity("this"),
    "future": by_capacity("this_and_future"),
    "all": by_capacity("all"),
    "template": lambda site: site.slots.change_template(1, capacity=2),
    "orm": by_orm,
}


@pytest.mark.parametrize("way", FREEING)
def test_what_frees_places_offers_them(site: Site, way: str) -> None:
    """In the same transaction: with its rollback the offer is gone, too."""
    full(site)
    waiting = wait(site, 1, 1)
    if way != "orm":
        FREEING[way](site)
        site.session.rollback()
        assert statuses(site, waiting) == ["waiting", "waiting"]
        check(site)
    FREEING[way](site)
    site.session.commit()
    assert statuses(site, waiting) == ["held", "waiting"]
    check(site)


ENDINGS: dict[str, tuple[Callable[[Site], Any], Callable[[Site], Any]]] = {
    "cancel": (lambda s: s.slots.cancel(KEY), lambda s: s.slots.restore(KEY)),
    "cancel_all": (lambda s: s.slots.cancel(KEY, "all"), lambda s: s.slots.restore_series(1)),
    "close": (lambda s: s.slots.close(KEY_DAY), lambda s: s.slots.reopen(KEY_DAY)),
    "complete": (lambda s: s.slots.complete(KEY), lambda s: s.slots.complete(KEY, undo=True)),
    "deactivate": (lambda s: s.slots.deactivate(1), lambda s: s.slots.activate(1)),
}
KEY_DAY = datetime(2026, 1, 6).date()


@pytest.mark.parametrize("way", ENDINGS)
def test_a_slot_that_comes_back_has_its_queue_again(site: Site, way: str) -> None:
    """While it is not offered nobody is served; what got free meanwhile is offered when it comes back."""
    end, undo = ENDINGS[way]
    full(site)
    waiting = wait(site, 1, 1)
    end(site)
    site.session.commit()
    site.slots.release(1, override=True)
    site.session.commit()
    site.slots.generate()
    assert statuses(site, waiting) == ["waiting", "waiting"]
    first = site.session.get(site.slots.Booking, waiting[0])
    is_over = way in ("cancel", "cancel_all", "complete")
    assert first.status_at(site.clock.now) == ("expired" if is_over else "waiting")
    assert first.ahead == (None if is_over else 0)
    undo(site)
    site.session.commit()
    assert statuses(site, waiting) == ["held", "waiting"]
    check(site)


def test_waiting_ends_with_the_start(site: Site) -> None:
    """Nobody is served any more, and whoever waited has done so for nothing; the row says it when it is released."""
    (booked,) = full(site)
    waiting = wait(site, 1, 1)
    site.clock.now = datetime(2026, 1, 6, 10, tzinfo=UTC)
    site.slots.release(booked, override=True)
    site.session.commit()
    site.slots.generate()
    assert statuses(site, waiting) == ["waiting", "waiting"]
    first = site.session.get(site.slots.Booking, waiting[0])
    assert (first.status_at(site.clock.now), first.ahead) == ("expired", None)
    site.slots.release(first)
    site.session.commit()
    assert (first.status, first.released_at) == ("expired", first.slot.starts_at)
    check(site)


@quick_on(*DATABASES)
def test_a_hold_that_expires_is_offered_by_the_next_top_up(site: Site) -> None:
    """Or by a page that shows the slot, which asks for a top-up; with nothing to do a top-up writes nothing."""
    full(site, capacity=2)
    site.slots.release(1)
    site.slots.hold(KEY, who="gone", minutes=9)
    site.session.commit()
    waiting = wait(site, 1)
    site.clock.turn(minutes=9)
    assert site.slots.generate(dry_run=True).updated == 0
    assert statuses(site, waiting) == ["waiting"]
    told: list[Any] = []

    def note(sender: Any, booking: Any, slot: Any, who: Any, **more: Any) -> None:
        told.append((booking.who, slot.key, who))

    with signals.booking_offered.connected_to(note, sender=site.app):
        site.slots.generate()
        site.slots.generate()
    assert statuses(site, waiting) == ["held"]
    assert told == [("waits 0", KEY, None)]
    check(site)


def test_a_receiver_that_fails_keeps_nobody_else_waiting(
    sqlite_site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """Who waits is offered places all the same; the log says that nobody was told."""
    site = sqlite_site
    full(site)
    site.session.execute(site.slots.Slot.__table__.update().values(booked=0))
    site.session.execute(site.slots.Booking.__table__.update().values(status="released", active_key=None))
    site.session.commit()

    def fail(sender: Any, **more: Any) -> None:
        raise RuntimeError("no mail today")

    other = "1@20260106T1100"
    for key in (KEY, other):
        site.slots.hold(key, who="gone", minutes=5)
        site.slots.wait(key, who="ada")
    site.session.commit()
    site.clock.turn(minutes=5)
    with signals.booking_offered.connected_to(fail, sender=site.app):
        assert site.slots.generate().created == 0
    assert caplog.text.count("a receiver of booking-offered failed") == 2
    site.session.rollback()
    assert [row.waits_for for row in site.rows() if row.waits_for] == []
    check(site)


def test_an_offer_is_confirmed_before_it_moves(site: Site) -> None:
    """Elsewhere it would be a hold that is longer, and one more, than a person may have."""
    full(site)
    offered = site.slots.wait(KEY, who="ada")
    site.session.commit()
    site.slots.release(site.slots.bookings(slot=KEY)[0])
    site.session.commit()
    assert (offered.is_offer, offered.status) == (True, "held")
    with pytest.raises(StatusConflict, match="it is an offer, to be confirmed first"):
        site.slots.move(offered, "1@20260106T1100")
    site.slots.confirm(offered)
    assert site.slots.move(offered, "1@20260106T1100").status == "confirmed"


# --- not offered: blocked by others -----------------------------------------------------------------------------


def test_a_court_that_is_taken_is_offered_to_nobody(site: Site) -> None:
    """Who waits for a place on a court that another booking has meanwhile is served when that is gone."""
    site.add(**COURT, capacity=2, waiting=5)
    site.add(**{**COURT, "dtstart": datetime(2026, 1, 1, 10, 30)}, capacity=1, waiting=5)
    site.slots.generate()
    site.slots.book(KEY, 2, who="guest")
    (waiting,) = wait(site, 1)
    site.slots.cancel(KEY)
    site.slots.release(1)
    other = site.slots.book("2@20260106T1030", who="rival").id
    site.session.commit()
    site.slots.restore(KEY)
    site.session.commit()
    assert (statuses(site, [waiting]), site.slots.get(KEY).state) == (["waiting"], "blocked")
    site.slots.generate()
    assert statuses(site, [waiting]) == ["waiting"]
    site.slots.release(other)
    site.session.commit()
    assert site.slots.get(KEY).state == "full"
    with pytest.raises(SlotFull):
        site.slots.book(KEY)
    site.session.rollback()
    site.slots.generate()
    assert statuses(site, [waiting]) == ["held"]
    assert site.slots.get("2@20260106T1030").state == "blocked"
    check(site)


def test_a_neighbour_has_the_time(site: Site) -> None:
    """A slot whose time another one of its series has is offered to nobody."""
    (booked,) = full(site)
    waiting = wait(site, 1)
    site.slots.cancel(KEY)
    site.slots.release(booked)
    site.slots.edit("1@20260106T1100", "this", start=time(10, 30))
    site.session.commit()
    with pytest.raises(StatusConflict, match="cannot come back"):
        site.slots.restore(KEY)
    site.session.rollback()
    assert statuses(site, waiting) == ["waiting"]
    site.slots.edit("1@20260106T1100", "this", start=time(11))
    site.slots.restore(KEY)
    site.session.commit()
    assert statuses(site, waiting) == ["held"]
    check(site)


def test_a_slot_that_does_not_follow_yet_waits_for_the_top_up(site: Site) -> None:
    """A capacity that the app lowered counts at once: nobody is offered a place that is gone."""
    booked = full(site, capacity=2)
    waiting = wait(site, 1)
    site.session.get(site.slots.Template, 1).capacity = 1
    site.session.commit()
    site.slots.release(booked[0])
    site.session.commit()
    assert statuses(site, waiting) == ["waiting"]
    site.slots.generate()
    assert statuses(site, waiting) == ["waiting"]
    site.slots.release(booked[1])
    site.session.commit()
    assert statuses(site, waiting) == ["held"]
    check(site)


# --- at the same time, and what becomes of the rows ---------------------------------------------------------------


@quick_on(*DATABASES)
def test_two_give_back_at_once(site: Site) -> None:
    """The second one waits for the first, and sees who is served by then."""
    booked = full(site, capacity=2)
    waiting = wait(site, 1, 1, 1)
    site.slots.release(booked[0])
    thread, outcome = meanwhile(site, lambda: site.slots.release(booked[1]).status)
    site.session.commit()
    thread.join(60)
    assert outcome == ["released"]
    assert statuses(site, waiting) == ["held", "held", "waiting"]
    check(site)


def test_what_the_orm_may_not_write(sqlite_site: Site) -> None:
    """The queue of a slot is written by calls alone, and a booking that waits is not deleted."""
    full(sqlite_site)
    (waiting,) = wait(sqlite_site, 1)
    slot = sqlite_site.slots.get(KEY)
    slot.queue = None
    with pytest.raises(InvalidRequest, match=r"slots\.wait and slots\.release"):
        sqlite_site.session.commit()
    sqlite_site.session.rollback()
    sqlite_site.session.delete(sqlite_site.session.get(sqlite_site.slots.Booking, waiting))
    with pytest.raises(StatusConflict, match="is waiting"):
        sqlite_site.session.commit()
    sqlite_site.session.rollback()


def test_old_queues_are_forgotten(site: Site) -> None:
    """A past slot in which people only waited goes with them, and an archive gets them."""
    (booked,) = full(site)
    wait(site, 1)
    site.slots.cancel(KEY)
    site.slots.release(booked)
    site.session.commit()
    site.clock.turn(days=40)
    site.slots.generate()
    kept: list[Any] = []
    report = site.slots.prune(30, archive=kept.extend)
    found = {slot["key"]: [each["status"] for each in slot["bookings"]] for slot in kept}
    assert found[KEY] == ["released", "waiting"]
    assert report.bookings == 2
    assert site.session.scalars(select(site.slots.Booking)).all() == []


def test_a_top_up_asks_once(sqlite_site: Site) -> None:
    """Whether anybody waits for what is free is one query, by an index."""
    site = sqlite_site
    full(site)
    wait(site, 1)
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "waits_for IS NOT NULL" in statement:
            asked.append((statement, parameters))

    event.listen(site.db.engine, "before_cursor_execute", note)
    site.slots.generate()
    event.remove(site.db.engine, "before_cursor_execute", note)
    assert len(asked) == 1
    plan = site.session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {asked[0][0]}", asked[0][1]).all()
    assert "ix_rolling_slot_waits_for" in str(plan), plan
