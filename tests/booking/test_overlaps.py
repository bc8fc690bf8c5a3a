"""Whatever moves, comes back or claims: two bookings on one resource never overlap, and nothing half is written."""

from __future__ import annotations

import threading
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import Site, meanwhile
from marks import DATABASES, quick_databases, quick_on

from flask_rollingslots.booking import taking
from flask_rollingslots.errors import (
    HoldExpired,
    InvalidTemplate,
    LostRace,
    SlotBooked,
    SlotClosed,
)

if TYPE_CHECKING:
    from pathlib import Path

#: Tuesday, an hour each; 1 and 2 share a court.
FOOTBALL, PARTY = "1@20260106T{}", "2@20260106T{}"
#: How long somebody who need not wait gets to be first: what comes out is the same if they do not make it.
A_MOMENT = 0.5
TEN, ELEVEN = FOOTBALL.format("1000"), PARTY.format("1100")

# What is only counted is the same on the third; what two do at once is tried there, too.
database_url = quick_databases("sqlite")


@pytest.fixture
def court(site: Site) -> Site:
    """Two templates by the hour on one court, stored; football is booked at ten, a party at eleven."""
    site.add(name="Football", resource="court", exclusive=True, capacity=2)
    site.add(name="Party", resource="court", exclusive=True)
    site.slots.generate()
    site.slots.book(TEN, who="football")
    site.slots.book(ELEVEN, who="party")
    site.session.commit()
    return site


def stored(site: Site) -> list[Any]:
    """Return all that an edit may change, as it is in the database."""
    site.session.commit()
    templates = [
        (t.id, t.revision, t.shift, t.active_until, t.duration)
        for t in site.session.query(site.slots.Template)
    ]
    return templates + [
        (r.key, r.starts_at, r.ends_at, r.status, r.booked, r.template_id) for r in site.rows()
    ]


# --- edits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["this", "this_and_future", "all"])
@quick_on(*DATABASES)
def test_an_edit_moves_no_booking_onto_another(court: Site, scope: str) -> None:
    """Onto a taken court: refused with the slot's key, in the preview too, and not a row is changed."""
    before = stored(court)
    change: dict[str, Any] = {"start": time(11, 30), "move_booked": True}
    if scope == "this":
        change = {"start": datetime(2026, 1, 6, 18, 30), "move_booked": True}
        court.slots.book(PARTY.format("1700"))
        court.slots.edit(PARTY.format("1700"), "this", start=time(18, 15), move_booked=True)
        before = stored(court)
    for call in (court.slots.preview_edit, court.slots.edit):
        with pytest.raises(SlotClosed, match="'court' is taken") as caught:
            call(TEN, scope, **change)
        assert (caught.value.key, caught.value.state) == (TEN, "blocked")  # type: ignore[attr-defined]
        assert caught.value.keys == [TEN]  # type: ignore[attr-defined]
    assert stored(court) == before
    assert court.slots.edit(TEN, scope, data={"ball": True}).changed


def test_a_preview_whose_place_was_taken_is_refused(court: Site) -> None:
    """The court was free when the preview was made, and is booked when it is applied."""
    change: dict[str, Any] = {"start": time(11), "move_booked": True}
    court.slots.release(1)
    court.slots.book(FOOTBALL.format("1300"))
    court.session.commit()
    preview = court.slots.preview_edit(TEN, "all", **change)
    court.slots.book(PARTY.format("1400"))
    before = stored(court)
    with pytest.raises(SlotClosed):
        court.slots.apply_edit(preview)
    assert stored(court) == before


def test_a_longer_duration_lets_neighbours_overlap(court: Site) -> None:
    """Two booked slots of one template that would overlap by their new length: refused, and told which."""
    court.slots.book(FOOTBALL.format("1400"))
    court.slots.book(FOOTBALL.format("1500"))
    before = stored(court)
    with pytest.raises(SlotClosed) as caught:
        court.slots.edit(TEN, "all", duration=timedelta(minutes=90), move_booked=True)
    assert caught.value.keys == [TEN, FOOTBALL.format("1500")]  # type: ignore[attr-defined]
    assert stored(court) == before
    plan = court.slots.edit(TEN, "all", duration=timedelta(minutes=90))
    assert len(plan.kept_booked) == 3


def test_bookings_that_move_together_are_not_in_each_others_way(court: Site) -> None:
    """Each takes the hour of the next one, and the last one a free hour."""
    for hour in ("1300", "1400", "1500"):
        court.slots.book(FOOTBALL.format(hour))
    court.slots.edit(FOOTBALL.format("1300"), "this_and_future", start=time(14), move_booked=True)
    court.session.commit()
    assert [court.slots.get(FOOTBALL.format(h)).starts_at.hour for h in ("1300", "1400", "1500")] == [
        14,
        15,
        16,
    ]
    with pytest.raises(SlotClosed, match="blocked"):
        court.slots.book(PARTY.format("1600"))
    court.slots.book(PARTY.format("1300"))


def test_an_expired_hold_is_in_nobodys_way(court: Site) -> None:
    """Neither where it is nor where it would go: the slot counts as not booked, for edits and for deletion."""
    held, key = court.slots.hold(PARTY.format("1600")), PARTY.format("1600")
    with pytest.raises(SlotBooked):
        court.slots.edit(key, "this", start=time(20))
    with pytest.raises(SlotBooked):
        court.slots.delete(key)
    court.session.commit()
    court.clock.now = held.expires_at
    court.slots.book(FOOTBALL.format("1600"))
    court.slots.edit(key, "this", start=time(16, 30))
    court.session.commit()
    assert str(court.slots.get(key).state) == "blocked"
    court.slots.delete(key)


@quick_on(*DATABASES)
def test_an_edit_and_a_booking_wait_for_each_other(court: Site) -> None:
    """Who comes second finds the court taken, whether it is the booking or the edit."""
    football, party = FOOTBALL.format("1300"), PARTY.format("1700")
    court.slots.release(1)
    court.slots.book(football)
    court.session.commit()
    court.slots.edit(football, "all", start=time(17, 30), move_booked=True)  # not committed
    thread, outcome = meanwhile(court, lambda: court.slots.book(party))
    thread.join(A_MOMENT)
    court.session.commit()
    thread.join(60)
    assert isinstance(outcome[0], SlotClosed)

    court.slots.book(PARTY.format("1500"))  # not committed
    thread, outcome = meanwhile(
        court, lambda: court.slots.edit(football, "all", start=time(15, 30), move_booked=True)
    )
    thread.join(A_MOMENT)
    court.session.commit()
    thread.join(60)
    assert isinstance(outcome[0], SlotClosed)


def test_no_edit_moves_a_slot_while_somebody_books_it(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who saw the court free at ten gets ten: an edit waits for the booking, and keeps its slot where it is."""
    site = Site(postgres_url, tmp_path)
    looked, go_on = threading.Event(), threading.Event()
    take_places = taking.take_places

    def take_late(*facts: Any, **more: Any) -> bool:
        looked.set()
        assert go_on.wait(60)
        return take_places(*facts, **more)

    with site.app.app_context():
        for name in ("Football", "Party"):
            site.add(name=name, resource="court", exclusive=True)
        site.slots.generate()
        site.session.commit()
        monkeypatch.setattr(taking, "take_places", take_late)
        booking, booked = meanwhile(site, lambda: site.slots.book(TEN).id)
        assert looked.wait(60)
        editing, edited = meanwhile(site, lambda: site.slots.edit(TEN, "all", start=time(11)))
        editing.join(A_MOMENT)
        assert not edited
        go_on.set()
        booking.join(60)
        editing.join(60)
        assert isinstance(booked[0], int)
        assert [str(row.key) for row in edited[0].kept_booked] == [TEN]  # type: ignore[attr-defined]
        assert site.slots.get(TEN).local_start.hour == 10


# --- what comes back ---------------------------------------------------------------------------------------------


def test_a_series_comes_back_without_what_would_overlap(court: Site) -> None:
    """Cancelled with its bookings, and the court given to others: that slot stays cancelled and is reported."""
    court.slots.book(FOOTBALL.format("1400"))
    court.slots.cancel(TEN, "all", reason="Renovation")
    court.slots.book(PARTY.format("1000"))
    court.session.commit()
    for restore in (lambda: court.slots.restore(TEN, "all"), lambda: court.slots.restore_series(1)):
        report = restore()
        assert report.kept_booked == [TEN]
        assert (report.booked, str(court.slots.get(TEN).state)) == ([FOOTBALL.format("1400")], "cancelled")
        court.session.rollback()
    with pytest.raises(SlotClosed, match="'court' is taken"):
        court.slots.restore(TEN)
    court.slots.restore_series(1)
    court.slots.release(4)
    court.slots.restore(TEN)
    assert court.slots.get(TEN).state == "open"
    assert court.slots.get(TEN).booked == 1


def test_what_became_exclusive_while_it_was_cancelled(site: Site) -> None:
    """Two cancelled slots that overlap each other: the first comes back, the second stays away."""
    site.add(resource="teacher", every=timedelta(minutes=30), until_time=time(13), overlapping=True)
    keys = [FOOTBALL.format("1000"), FOOTBALL.format("1030")]
    for key in keys:
        site.slots.book(key)
    site.slots.cancel(keys[0], "all")
    site.session.get(site.slots.Template, 1).exclusive = True
    site.session.commit()
    report = site.slots.restore_series(1)
    assert (report.changed[:1], report.kept_booked) == ([keys[0]], [keys[1]])


# --- bookings ----------------------------------------------------------------------------------------------------


def test_a_late_confirm_finds_the_court_taken(court: Site) -> None:
    """Somebody whose clock is ahead took the court when the hold had expired for them: it cannot be confirmed."""
    held = court.slots.hold(FOOTBALL.format("1400"))
    court.session.commit()
    court.clock.now = held.expires_at
    court.slots.book(PARTY.format("1400"))
    court.session.commit()
    with pytest.raises(HoldExpired):
        court.slots.confirm(held)
    court.clock.turn(seconds=-1)
    with pytest.raises(SlotClosed, match="taken by another booking meanwhile"):
        court.slots.confirm(held)
    court.session.rollback()
    assert held.status == "held"


def test_more_places_are_no_overlap(court: Site) -> None:
    """A raised capacity lets more parties into the slot that has the court, and into no other."""
    court.slots.edit(ELEVEN, "this", capacity=2)
    court.slots.book(ELEVEN)
    with pytest.raises(SlotClosed, match="blocked"):
        court.slots.book(FOOTBALL.format("1100"))
    court.slots.move(1, FOOTBALL.format("1200"))
    with pytest.raises(SlotClosed, match="blocked"):
        court.slots.move(1 + 3, FOOTBALL.format("1100"))


# --- what the app writes by itself -------------------------------------------------------------------------------


@pytest.fixture
def clash(site: Site) -> Site:
    """Two templates that share a court without claiming it, booked at the same hour."""
    for name in ("Football", "Party"):
        site.add(name=name, resource="court")
    for key in (FOOTBALL, PARTY):
        site.slots.book(key.format("1100"))
    site.session.commit()
    return site


def test_a_court_with_overlapping_bookings_cannot_be_claimed(clash: Site) -> None:
    """The second template to claim it is refused, with the slot's key; also both at once; the first may."""
    templates = list(clash.session.query(clash.slots.Template).order_by(clash.slots.Template.id))
    for template in templates:
        template.exclusive = True
    with pytest.raises(InvalidTemplate, match="is booked: expected that no other booking has 'court'"):
        clash.session.commit()
    clash.session.rollback()
    templates[0].exclusive = True
    clash.session.commit()
    templates[1].exclusive = True
    with pytest.raises(InvalidTemplate) as caught:
        clash.session.commit()
    assert caught.value.keys == [ELEVEN]  # type: ignore[attr-defined]
    clash.session.rollback()
    assert templates[1].exclusive is False
    clash.slots.release(2)
    templates[1].exclusive = True
    clash.session.commit()


def test_another_court_with_overlapping_bookings(court: Site) -> None:
    """A template moves to a court where somebody has the same hour: refused; to a free one: done."""
    court.add(name="Yoga", resource="court 2", exclusive=True)
    court.slots.book("3@20260106T1000")
    court.session.commit()
    yoga = court.session.get(court.slots.Template, 3)
    yoga.resource = "court"
    with pytest.raises(InvalidTemplate):
        court.session.commit()
    court.session.rollback()
    yoga.resource = "court 3"
    court.session.commit()


@quick_on(*DATABASES)
def test_a_claim_waits_for_a_booking_under_way(clash: Site) -> None:
    """A booking that is not committed yet counts, and one that begins during the claim sees it."""
    clash.slots.release(2)
    clash.session.get(clash.slots.Template, 1).exclusive = True
    clash.session.commit()

    def claim() -> None:
        clash.session.get(clash.slots.Template, 2).exclusive = True
        clash.session.flush()

    clash.slots.book(ELEVEN)
    thread, outcome = meanwhile(clash, claim)
    clash.session.commit()
    thread.join(60)
    assert isinstance(outcome[0], InvalidTemplate)
    clash.slots.release(3)
    clash.session.commit()
    claim()
    thread, outcome = meanwhile(clash, lambda: clash.slots.book(ELEVEN))
    clash.session.commit()
    thread.join(60)
    # MariaDB's transaction cannot see why: "its template was changed in the meantime".
    assert isinstance(outcome[0], SlotClosed | LostRace)


def test_a_booked_slot_that_the_app_moves_itself(court: Site) -> None:
    """``slot.starts_at = …`` on a booked slot is refused where the court is taken; so is bringing it back by hand."""
    slot = court.slots.get(TEN)
    slot.starts_at += timedelta(minutes=30)
    slot.ends_at += timedelta(minutes=30)
    with pytest.raises(SlotClosed, match="'court' is taken"):
        court.session.commit()
    court.session.rollback()
    slot.starts_at -= timedelta(minutes=30)
    court.session.commit()
    slot.status = "cancelled"
    court.session.commit()
    court.slots.book(PARTY.format("1000"))
    slot.status = "scheduled"
    with pytest.raises(SlotClosed):
        court.session.commit()
    court.session.rollback()
