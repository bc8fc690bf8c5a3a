"""Two people at once: the second is told, and nothing of the first is lost. On each database."""

from __future__ import annotations

import threading
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import Site, meanwhile

from flask_rollingslots.errors import SlotFull, StaleEdit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY, LATER = "1@20260107T1000", "1@20260108T1000"


@pytest.fixture
def shared(database_url: str, tmp_path: Path) -> Iterator[Site]:
    """A filled site on each database."""
    site = Site(database_url, tmp_path)
    with site.app.app_context():
        site.add(capacity=2)
        site.slots.generate()
        site.session.remove()
        yield site


def somebody(site: Site, act: Callable[[], Any]) -> Any:
    """Do something as another person does it: in a thread, a session and a transaction of its own."""
    thread, outcome = meanwhile(site, act)
    thread.join(60)
    return outcome[0]


def test_the_second_of_two_edits_gets_a_conflict(shared: Site) -> None:
    """Both looked at the same revision: the first edit stands whole, the second is refused and told what is there."""
    revision = shared.slots.preview_edit(KEY, "all", capacity=5).revision
    shared.session.rollback()
    assert not isinstance(
        somebody(shared, lambda: shared.slots.edit(KEY, "all", revision, capacity=5)), Exception
    )
    refused = somebody(shared, lambda: shared.slots.edit(LATER, "all", revision, data={"a": 1}))
    assert isinstance(refused, StaleEdit)
    assert refused.details == {"revision": revision + 1}
    assert {(slot.capacity, bool(slot.data)) for slot in shared.week()} == {(5, False)}


@pytest.mark.parametrize("scope", ["this", "this_and_future", "all"])
def test_a_crowd_of_editors(shared: Site, scope: str) -> None:
    """Five people save at the same time what they saw at the same revision: one is taken, four are told."""
    gate = threading.Barrier(5)
    outcomes: list[Any] = []

    def person(number: int) -> None:
        with shared.app.app_context():
            gate.wait(60)
            try:
                shared.slots.edit(KEY, scope, 1, data={f"by{number}": True})
                shared.session.commit()
                outcomes.append(number)
            except StaleEdit:
                shared.session.rollback()
                outcomes.append("stale")

    crowd = [threading.Thread(target=person, args=(number,)) for number in range(5)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join(60)
    done = [number for number in outcomes if number != "stale"]
    assert len(outcomes) == 5
    if scope == "this":  # one slot has no revision: all five are merged, and none is lost
        assert set(shared.slots.get(KEY).data) == {f"by{number}" for number in done}
    else:
        assert len(done) == 1
        assert shared.slots.get(KEY).data == {f"by{done[0]}": True}
    assert len({row.key for row in shared.rows()}) == len(shared.rows()) == 56


def test_what_this_session_has_seen_is_compared_by_itself(shared: Site) -> None:
    """Who read the template before somebody else changed it need not pass a revision to be told."""
    template = shared.session.get(shared.slots.Template, 1)
    assert template.capacity == 2
    somebody_edited = somebody(shared, lambda: shared.slots.edit(KEY, "all", capacity=5))
    assert not isinstance(somebody_edited, Exception)
    with pytest.raises(StaleEdit):
        shared.slots.edit(KEY, "all", duration=timedelta(minutes=30))
    shared.session.rollback()
    shared.slots.edit(KEY, "all", duration=timedelta(minutes=30))
    shared.session.commit()
    assert {slot.capacity for slot in shared.week()} == {5}


def test_an_edit_waits_for_a_booking_under_way(shared: Site) -> None:
    """A booking that is not committed yet is not overlooked: the edit sees it, or is told; the places add up."""
    entered, outcome = threading.Event(), []

    def owner() -> None:
        with shared.app.app_context():
            entered.set()
            try:
                outcome.append(shared.slots.edit(KEY, "all", start=time(11), capacity=1))
                shared.session.commit()
            except Exception as error:
                shared.session.rollback()
                outcome.append(error)

    shared.slots.book(KEY, party=2)
    thread = threading.Thread(target=owner)
    thread.start()
    assert entered.wait(60)
    shared.session.commit()
    thread.join(60)
    assert [str(row.key) for row in outcome[0].kept_booked] == [KEY]
    slot = shared.slots.get(KEY)
    assert (slot.local_start.hour, slot.booked, slot.capacity) == (10, 2, 1)


def test_a_stale_preview_is_refused(shared: Site) -> None:
    """A booking, an edit or the passing of time makes a preview stale; a fresh one is applied."""
    site = shared

    def preview() -> Any:
        found = site.slots.preview_edit(KEY, "all", start=time(10, 30))
        site.session.rollback()
        return found

    for happens in (
        lambda: site.slots.book(LATER),
        lambda: site.slots.edit("1@20260109T1100", "this", start=time(20)),
        lambda: site.slots.edit(KEY, "all", data={"x": 1}),
        lambda: site.slots.cancel(LATER),
    ):
        seen = preview()
        assert not isinstance(somebody(site, happens), Exception)
        with pytest.raises(StaleEdit):
            site.slots.apply_edit(seen)
        site.session.rollback()
    seen = preview()
    site.clock.turn(hours=3)
    with pytest.raises(StaleEdit):
        site.slots.apply_edit(seen)
    site.session.rollback()
    assert site.slots.apply_edit(preview()).to_dict()["counts"]["changed"] > 0
    site.session.commit()


def test_a_cut_that_waited_for_a_cut(shared: Site) -> None:
    """Who waited for another cut works on the parts that it left, not on the one that it saw before."""
    entered, outcome = threading.Event(), []

    def other() -> None:
        with shared.app.app_context():
            entered.set()
            try:
                outcome.append(shared.slots.edit("1@20260109T1000", "this_and_future", capacity=4))
                shared.session.commit()
            except Exception as error:
                shared.session.rollback()
                outcome.append(error)

    shared.slots.edit(KEY, "this_and_future", capacity=3)
    thread = threading.Thread(target=other)
    thread.start()
    assert entered.wait(60)
    shared.session.commit()
    thread.join(60)
    assert not isinstance(outcome[0], Exception)
    shared.session.rollback()
    capacities = {slot.original_start.day: slot.capacity for slot in shared.week()}
    assert capacities == {5: 2, 6: 2, 7: 3, 8: 3, 9: 4, 10: 4, 11: 4}
    cls = shared.slots.Template
    bounds = [(t.active_from, t.active_until) for t in shared.session.query(cls).order_by(cls.id)]
    cut, second = datetime(2026, 1, 7, 10), datetime(2026, 1, 9, 10)
    assert bounds == [(None, cut), (cut, second), (second, None)]


#: What each of two people adds to a list.
ADDED: dict[str, tuple[Any, Any]] = {
    "exdates": (date(2026, 1, 9), date(2026, 1, 8)),
    "rdates": (datetime(2026, 1, 9, 20), datetime(2026, 1, 8, 20)),
    "blackouts": ((date(2026, 1, 9), date(2026, 1, 9)), (date(2026, 1, 8), date(2026, 1, 8))),
}


def test_lists_in_columns_do_not_lose_updates(shared: Site) -> None:
    """Two people add a day each, in place: the second is told instead of undoing the first, and can do it again."""
    template = shared.session.get(shared.slots.Template, 1)
    for name, (first, second) in ADDED.items():
        assert getattr(template, name) == []

        def other(name: str = name, added: Any = first) -> None:
            theirs = shared.session.get(shared.slots.Template, 1)
            getattr(theirs, name).append(added)

        assert somebody(shared, other) is None
        getattr(template, name).append(second)
        with pytest.raises(StaleEdit):
            shared.session.commit()
        shared.session.rollback()
        assert getattr(template, name) == [first]
        getattr(template, name).append(second)
        shared.session.commit()
        assert sorted(getattr(template, name)) == [second, first]
    shared.slots.generate()
    shared.session.rollback()
    assert {slot.local_start.day for slot in shared.week()} == {5, 6, 7, 10, 11}


def test_two_holds_at_once_are_both_remembered(shared: Site) -> None:
    """The second person waits for the first one's commit: the slot's row lists both holds, and frees both in time."""
    first = shared.slots.hold(KEY, who="ada", minutes=5)
    thread, outcome = meanwhile(shared, lambda: shared.slots.hold(KEY, who="bob", minutes=9).id)
    shared.session.commit()
    thread.join(60)
    slot = shared.slots.get(KEY)
    assert sorted((number, party) for number, _, party in slot.holds) == [(first.id, 1), (outcome[0], 1)]
    assert (slot.booked, slot.left, slot.hold_until) == (2, 0, first.expires_at)
    cls = shared.slots.Slot
    for minutes, left in ((5, 1), (4, 2)):
        shared.clock.turn(minutes=minutes)
        assert slot.left == left
        assert shared.session.scalar(shared.db.select(cls.left).where(cls.id == slot.id)) == left
    assert shared.slots.book(KEY, party=2).status == "confirmed"


def test_the_apps_own_commit_tells_a_conflict_too(shared: Site) -> None:
    """A template that somebody changed since it was read: the commit says so in our words, and all goes back."""
    template, booking = shared.session.get(shared.slots.Template, 1), shared.slots.book(KEY)
    shared.session.commit()
    assert template.name == "Hall"  # read again, so that the next commit compares
    assert somebody(shared, lambda: shared.slots.edit(LATER, "all", capacity=5)).changed
    shared.slots.release(booking)
    template.name = "Great hall"
    with pytest.raises(StaleEdit, match="Somebody else changed this"):
        shared.session.commit()
    shared.session.rollback()
    assert (template.name, template.capacity, booking.status) == ("Hall", 5, "confirmed")
    template.name = "Great hall"
    shared.session.commit()
    assert shared.session.get(shared.slots.Template, 1).name == "Great hall"


def test_who_waited_for_the_others_commit_is_told(shared: Site) -> None:
    """The other one has written but not committed when we commit: we wait, and are told; theirs stands."""
    ours = shared.session.get(shared.slots.Template, 1)
    assert ours.name == "Hall"
    written, go = threading.Event(), threading.Event()

    def other() -> None:
        with shared.app.app_context():
            shared.session.get(shared.slots.Template, 1).name = "Theirs"
            shared.session.flush()
            written.set()
            go.wait(1)  # nobody can tell that we wait for the lock; the outcome is the same if we do not yet
            shared.session.commit()

    thread = threading.Thread(target=other)
    thread.start()
    assert written.wait(60)
    ours.name = "Ours"
    with pytest.raises(StaleEdit):
        shared.session.commit()
    shared.session.rollback()
    thread.join(60)
    assert ours.name == "Theirs"


def test_a_template_that_is_gone(shared: Site) -> None:
    """Changing a template that somebody deleted is a conflict as well."""
    shared.add(name="Short-lived")
    template = shared.session.get(shared.slots.Template, 2)
    assert template.name == "Short-lived"

    def delete() -> None:
        shared.session.delete(shared.session.get(shared.slots.Template, 2))

    shared.session.rollback()
    assert template.name == "Short-lived"
    shared.session.commit()
    assert template.name == "Short-lived"
    assert somebody(shared, delete) is None
    template.name = "Longer"
    with pytest.raises(StaleEdit):
        shared.session.commit()
    shared.session.rollback()


def test_two_fields_of_one_slot_by_two_people(shared: Site) -> None:
    """One changes the capacity, the other the data: both decisions are remembered by name."""
    slot = shared.slots.get(KEY)
    assert slot.customised == []

    def other() -> None:
        shared.slots.get(KEY).data = {"band": "The Late"}

    shared.session.rollback()
    slot = shared.slots.get(KEY)
    assert slot.capacity == 2
    assert somebody(shared, other) is None
    slot.capacity = 9
    shared.session.commit()
    assert sorted(shared.slots.get(KEY).customised) == ["capacity", "data"]
    shared.slots.edit(KEY, "all", capacity=3, data={"band": "None"})
    shared.session.commit()
    assert (shared.slots.get(KEY).capacity, shared.slots.get(KEY).data) == (9, {"band": "The Late"})


def test_a_refused_edit_leaves_the_apps_own_work(shared: Site) -> None:
    """What the app wrote in the same transaction before is still there to commit."""
    shared.slots.book(LATER)
    with pytest.raises(StaleEdit):
        shared.slots.edit(KEY, "all", revision=99, capacity=5)
    with pytest.raises(SlotFull):
        shared.slots.book(LATER, party=5)
    shared.session.commit()
    assert shared.slots.get(LATER).booked == 1
    assert {slot.capacity for slot in shared.week()} == {2}


def test_two_close_days_at_once(shared: Site) -> None:
    """Who comes second waits, and adds the days to those of the first."""
    shared.add(group="north")
    shared.session.remove()
    shared.slots.close(date(2026, 1, 7))
    thread, outcome = meanwhile(shared, lambda: shared.slots.close(date(2026, 1, 8), group="north"))
    shared.session.commit()
    thread.join(60)
    assert outcome[0].templates == [2]
    shared.session.rollback()
    seventh, both = (date(2026, 1, 7), date(2026, 1, 7)), (date(2026, 1, 7), date(2026, 1, 8))
    assert [[tuple(days) for days in each.blackouts] for each in shared.slots.templates()] == [
        [seventh],
        [both],
    ]
