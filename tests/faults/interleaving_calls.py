"""The calls that race each other, and the scenes in which they do: each is a line of a table.

A scene has a slot that everybody is about, its ``key``, and a day later another one of the same series. Somebody holds
places and somebody has booked, in the slot itself if it has a row, else in the other one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from helpers import HALL, Clock, Site
from sqlalchemy import inspect, select

from flask_rollingslots.models import BookingMixin

if TYPE_CHECKING:
    from pathlib import Path

#: The day before everything happens, and the morning on which it does.
SUNDAY, MONDAY = (datetime(2026, 1, day, 8, tzinfo=UTC) for day in (4, 5))
TUESDAY = date(2026, 1, 6)
#: Two slots a day, and a window of three days.
OFFER: dict[str, Any] = {
    **HALL,
    "group": "club",
    "dtstart": datetime(2026, 1, 4, 10),
    "until_time": time(12),
    "window_days": 3,
    "capacity": 5,
}
KEY, OTHER, FAR = "1@20260106T1000", "1@20260107T1000", "1@20260120T1000"
#: One slot a day.
COURT: dict[str, Any] = {**OFFER, "every": None, "until_time": None, "capacity": 1, "resource": "court"}
COURT_KEY, YOGA_KEY = "2@20260106T1000", "3@20260106T1030"


@dataclass
class Scene:
    """What is committed when a trial begins.

    :param hold: the id of a hold; ``booking``: of a booking; both in the slot itself if it has a row.
    :param mover: the id of a booking in the other slot.
    :param waiting: the id of the first one that waits.
    :param rows: the rows of each table.
    """

    name: str
    key: str = KEY
    rival: str = OTHER
    hold: int = 0
    booking: int = 0
    mover: int = 0
    waiting: int = 0
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def series(self) -> int:
        """The series that is decided about."""
        return int(self.key.partition("@")[0])

    @property
    def start(self) -> datetime:
        """The original start of the slot that everybody is about."""
        return datetime.strptime(self.key.partition("@")[2], "%Y%m%dT%H%M")  # noqa: DTZ007 (wall clock)


# -- calls


Act = Callable[[Any, Scene, str], Any]


@dataclass(frozen=True)
class Call:
    """A call that races.

    :param scenes: where it is worth to look; empty: wherever the other one wants to.
    :param is_main: whether it meets all others; the rest only meets these, and itself.
    """

    name: str
    scenes: str
    act: Act
    is_main: bool = True


def _edit(scope: str, **changes: Any) -> Act:
    return lambda slots, scene, who: slots.edit(scene.key, scope, **changes)


def _first(bookings: Iterable[Any]) -> Any:
    return next(iter(bookings), None)


_MORE = False
CALLS = {
    call.name: call
    for call in (
        Call("book", "stored virtual queued lapsed", lambda slots, scene, who: slots.book(scene.key, who=who)),
        Call("hold", "full virtual to_share to_join", lambda slots, scene, who: slots.hold(scene.key, who=who)),
        # Its answer names every booking; like book it is to name one, so that the others are looked for.
        Call("book_series", "stored virtual",
             lambda slots, s, who: _first(slots.book_series(s.key, 3, who=who).bookings)),
        Call("confirm", "stored offered", lambda slots, scene, who: slots.confirm(scene.hold)),
        Call("release", "stored queued queued_court", lambda slots, scene, who: slots.release(scene.booking)),
        Call("move", "stored virtual queued", lambda slots, scene, who: slots.move(scene.mover, scene.key)),
        Call("wait", "queued offered lapsed", lambda slots, scene, who: slots.wait(scene.key, who=who)),
        Call("grow", "stored limited", lambda slots, scene, who: slots.change_party(scene.booking, 3)),
        Call("edit_this_capacity", "", _edit("this", capacity=1)),
        Call("edit_future_time", "", _edit("this_and_future", start=time(14))),
        Call("edit_all_capacity", "", _edit("all", capacity=1)),
        Call("cancel_this", "", lambda slots, scene, who: slots.cancel(scene.key, "this")),
        Call("cancel_future", "", lambda slots, scene, who: slots.cancel(scene.key, "this_and_future")),
        Call("cancel_all", "", lambda slots, scene, who: slots.cancel(scene.key, "all")),
        Call("delete_this", "virtual", lambda slots, scene, who: slots.delete(scene.key, "this")),
        Call("restore_this", "cancelled deleted cancelled_queue",
             lambda slots, scene, who: slots.restore(scene.key, "this")),
        Call("close", "", lambda slots, s, who: slots.close(s.start.date(), group="club")),
        Call("generate", "stored lapsed", lambda slots, scene, who: slots.generate()),
        Call("prune", "stored", lambda slots, scene, who: slots.prune(timedelta(hours=12))),
        # What is like one of those, or seldom.
        Call("book_keyed", "single", lambda slots, s, who: slots.book(s.key, who="kim", idempotency_key="1"), _MORE),
        Call("book_seen", "virtual", lambda slots, s, who: (slots.get(s.key), slots.book(s.key, who=who))[1], _MORE),
        Call("book_rival", "shared near", lambda slots, scene, who: slots.book(scene.rival, who=who), _MORE),
        Call("release_series", "repeated", lambda slots, s, who: _first(
            slots.release(s.booking, following=True)), _MORE),
        Call("book_weeks_back", "stored", lambda slots, s, who: _first(slots.book_series(
            s.rival, 2, every=2, conflicts="skip", who=who).bookings), _MORE),
        Call("wait_for_two", "queued", lambda slots, scene, who: slots.wait(scene.key, 2, who=who), _MORE),
        Call("release_first", "queued", lambda slots, scene, who: slots.release(scene.waiting), _MORE),
        Call("edit_all_more", "queued queued_court", _edit("all", capacity=4), _MORE),
        Call("release_hold", "offered", lambda slots, scene, who: slots.release(scene.hold), _MORE),
        Call("move_away", "near shared queued queued_court",
             lambda slots, s, who: slots.move(s.booking, s.rival), _MORE),
        Call("shrink", "limited", lambda slots, scene, who: slots.change_party(scene.booking, 1), _MORE),
        Call("book_for_guest", "limited", lambda slots, scene, who: slots.book(scene.key, who="guest"), _MORE),
        Call("hold_for_guest", "limited", lambda slots, scene, who: slots.hold(scene.rival, who="guest"), _MORE),
        Call("materialize", "virtual", lambda slots, scene, who: slots.materialize(scene.key), _MORE),
        Call("edit_this_time", "", _edit("this", start=time(15)), _MORE),
        Call("edit_rival_time", "near", lambda slots, s, who: slots.edit(
            s.rival, "this", start=s.start + timedelta(minutes=30)), _MORE),
        Call("edit_future_capacity", "", _edit("this_and_future", capacity=1), _MORE),
        Call("edit_all_time", "", _edit("all", start=time(14)), _MORE),
        Call("edit_all_rule", "", _edit("all", rrule="FREQ=WEEKLY;BYDAY=SU,MO"), _MORE),
        Call("edit_all_exdate", "", lambda slots, s, who: slots.edit(s.key, "all", exdates=[s.start]), _MORE),
        Call("edit_all_court", "to_share to_join", _edit("all", resource="court", exclusive=True), _MORE),
        Call("edit_all_data", "", _edit("all", data={"colour": "red"}), _MORE),
        Call("cancel_from", "", lambda slots, scene, who: slots.cancel_future(scene.series, TUESDAY), _MORE),
        Call("cancel_date", "", lambda slots, s, who: slots.cancel_date("club", s.start.date()), _MORE),
        Call("delete_future", "", lambda slots, scene, who: slots.delete(scene.key, "this_and_future"), _MORE),
        Call("delete_all", "", lambda slots, scene, who: slots.delete(scene.key, "all"), _MORE),
        Call("restore_all", "ended", lambda slots, scene, who: slots.restore(scene.key, "all"), _MORE),
        Call("complete", "", lambda slots, scene, who: slots.complete(scene.key), _MORE),
        Call("reopen", "closed", lambda slots, s, who: slots.reopen(s.start.date(), group="club"), _MORE),
        Call("deactivate", "", lambda slots, scene, who: slots.deactivate(scene.series), _MORE),
    )
}  # fmt: skip


def pairs() -> Iterator[tuple[str, str, str]]:
    """Yield each scene with two calls that are worth to meet in it, in this order."""
    for first, second in itertools.product(CALLS.values(), repeat=2):
        if first.is_main or second.is_main or first is second:
            scenes = {*first.scenes.split(), *second.scenes.split()} or {"stored"}
            yield from ((scene, first.name, second.name) for scene in sorted(scenes))


def told(made: Any) -> tuple[frozenset[int], frozenset[str]]:
    """Return the bookings, by id, and the slots with bookings, by key, that the answer to a call names.

    Before the commit, as a page would that thanks for a booking.
    """
    ids, keys = set[int](), set[str]()
    if isinstance(made, BookingMixin):
        assert made.slot.key
        assert made.slot.template.name
    for name in ("bookings", "affected_bookings"):
        found = getattr(made, name, ())
        if isinstance(found, list | tuple):
            ids |= {inspect(each).identity[0] for each in found}
    for name in ("booked", "kept_booked", "overbooked", "moved", "changed"):
        found = getattr(made, name, ())
        if isinstance(found, list | tuple):
            keys |= {str(getattr(each, "key", each)) for each in found}
    return frozenset(ids), frozenset(keys)


# -- scenes


def _hall(site: Site, scene: Scene, key: str = KEY, booked: str | None = None, **fields: Any) -> None:
    site.add(**{**OFFER, **fields})
    site.slots.generate()
    site.clock.now = MONDAY
    site.slots.generate()
    scene.hold = site.slots.hold(key, who="holder", minutes=30).id
    scene.booking = site.slots.book(booked or key, who="guest").id
    scene.mover = site.slots.book(OTHER, who="mover").id
    site.session.commit()
    missing = site.slots.get("1@20260107T1100")
    site.session.delete(missing)
    site.session.commit()


def _stored(site: Site, scene: Scene) -> None:
    _hall(site, scene)


def _virtual(site: Site, scene: Scene) -> None:
    _hall(site, scene, OTHER)
    scene.key = FAR


def _single(site: Site, scene: Scene) -> None:
    _hall(site, scene, "1@20260106T1100", "1@20260105T1100", capacity=1)


def _full(site: Site, scene: Scene) -> None:
    """Fill the slot with a hold that has expired."""
    site.clock.now = SUNDAY
    _hall(site, scene)
    site.clock.now = MONDAY - timedelta(hours=1)
    site.slots.hold(KEY, party=3, who="gone", minutes=30)
    site.session.commit()
    site.clock.now = MONDAY


def _cancelled(site: Site, scene: Scene) -> None:
    _hall(site, scene)
    site.slots.cancel(KEY)
    site.session.commit()


def _deleted(site: Site, scene: Scene) -> None:
    _hall(site, scene, OTHER)
    site.slots.delete(KEY, "this")
    site.session.commit()


def _ended(site: Site, scene: Scene) -> None:
    _hall(site, scene)
    site.slots.cancel(KEY, "this_and_future")
    site.session.commit()


def _closed(site: Site, scene: Scene) -> None:
    _hall(site, scene)
    site.slots.close(TUESDAY, group="club")
    site.session.commit()


def _near(site: Site, scene: Scene) -> None:
    """Let the next slot of the day be the rival: it may be moved beside its time."""
    _hall(site, scene, OTHER)
    scene.rival = "1@20260106T1100"


def _repeated(site: Site, scene: Scene) -> None:
    """Let the guest have booked three weeks."""
    _hall(site, scene, OTHER)
    scene.booking = site.slots.book_series(KEY, 3, who="regular").bookings[0].id
    site.session.commit()


def _limited(site: Site, scene: Scene) -> None:
    """Let the guest have two places of the three that one person may have on a day."""
    _hall(site, scene, max_per_person=3, max_per_person_day=3, max_per_person_week=9)
    scene.rival = "1@20260106T1100"
    site.slots.change_party(scene.booking, 2)
    site.session.commit()


def _courts(site: Site, scene: Scene, **yoga: Any) -> None:
    """Let a yoga class be in question, whose time overlaps with that of a court."""
    site.clock.now = SUNDAY
    site.add(**OFFER)
    site.add(**{**COURT, "name": "Court", "exclusive": True})
    site.add(**{**COURT, "dtstart": datetime(2026, 1, 4, 10, 30), "name": "Yoga", **yoga})
    site.clock.now = MONDAY
    site.slots.generate()
    scene.key, scene.rival = YOGA_KEY, COURT_KEY
    scene.hold = site.slots.hold(KEY, who="holder", minutes=30).id
    scene.booking = site.slots.book(KEY, who="guest").id
    scene.mover = site.slots.book("3@20260107T1030", who="mover").id
    site.session.commit()


def _shared(site: Site, scene: Scene) -> None:
    _courts(site, scene, exclusive=True)


def _taken(site: Site, scene: Scene, **yoga: Any) -> None:
    """As before; the court is booked, and what was held in the class has expired."""
    _courts(site, scene, **yoga)
    site.slots.book(COURT_KEY, who="player")
    site.clock.now = MONDAY - timedelta(hours=1)
    site.slots.hold(YOGA_KEY, who="gone", minutes=30)
    site.session.commit()
    site.clock.now = MONDAY


def _to_share(site: Site, scene: Scene) -> None:
    _taken(site, scene)


def _to_join(site: Site, scene: Scene) -> None:
    _taken(site, scene, exclusive=True, resource="lawn")


def _queue(site: Site, scene: Scene, key: str) -> None:
    """Let two people wait, the second one for two places."""
    scene.waiting = site.slots.wait(key, who="first in the queue").id
    site.slots.wait(key, 2, who="second in the queue")
    site.session.commit()


def _queued(site: Site, scene: Scene) -> None:
    """Let all places be taken: one is held, one is booked."""
    _hall(site, scene, capacity=2, waiting=8)
    _queue(site, scene, KEY)


def _queued_court(site: Site, scene: Scene) -> None:
    """As before, on a court that another offer shares."""
    _courts(site, scene, exclusive=True, capacity=2, waiting=8)
    scene.booking = site.slots.book(YOGA_KEY, 2, who="guest").id
    scene.rival = COURT_KEY
    _queue(site, scene, YOGA_KEY)


def _cancelled_queue(site: Site, scene: Scene) -> None:
    """Let somebody have left while the slot was cancelled."""
    _queued(site, scene)
    site.slots.cancel(KEY)
    site.slots.release(scene.booking)
    site.session.commit()


def _offered(site: Site, scene: Scene) -> None:
    """Let the first one be offered what a guest gave back."""
    _queued(site, scene)
    site.slots.release(scene.booking)
    scene.booking, scene.hold = scene.hold, scene.waiting
    site.session.commit()


def _lapsed(site: Site, scene: Scene) -> None:
    """Let the offer have expired, and nobody have noticed."""
    site.clock.now = SUNDAY
    _hall(site, scene, capacity=2, waiting=8)
    site.clock.now = MONDAY - timedelta(hours=2)
    _queue(site, scene, KEY)
    site.slots.release(scene.booking)
    site.slots.release(scene.hold)
    site.session.commit()
    site.clock.now = MONDAY


SCENES: dict[str, Callable[[Site, Scene], None]] = {
    "stored": _stored,
    "virtual": _virtual,
    "single": _single,
    "full": _full,
    "cancelled": _cancelled,
    "deleted": _deleted,
    "ended": _ended,
    "closed": _closed,
    "near": _near,
    "repeated": _repeated,
    "limited": _limited,
    "shared": _shared,
    "to_share": _to_share,
    "to_join": _to_join,
    "queued": _queued,
    "queued_court": _queued_court,
    "cancelled_queue": _cancelled_queue,
    "offered": _offered,
    "lapsed": _lapsed,
}


def build(name: str, folder: Path) -> Scene:
    """Let a scene be prepared by the library itself, one call after the other, and return its rows."""
    scene = Scene(name)
    site = Site(f"sqlite:///{folder / f'{name}.db'}", folder, Clock(SUNDAY))
    with site.app.app_context():
        SCENES[name](site, scene)
        for table in site.db.metadata.sorted_tables:
            scene.rows[table.name] = [dict(row) for row in site.session.execute(select(table)).mappings()]
        site.session.remove()
        site.db.engine.dispose()
    return scene
