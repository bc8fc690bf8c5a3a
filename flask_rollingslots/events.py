"""Events: what happened, told to an app's functions after the commit, once each and in order; see ``slots.on``.

What a piece of work tells is taken down within its transaction, and only what somebody listens for. The session keeps
it: a rollback, also of a savepoint around it, drops it, and the end of the outermost committed transaction tells it. By
then that session may be used no more, so each function has an app context, and so a session, of its own.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, TypeVar

from sqlalchemy import event as sa_event
from sqlalchemy.orm import Session, SessionTransaction

from .context import Work
from .errors import nearest, refusal
from .models import BookingMixin, SlotMixin
from .signals import EVENTS
from .values import BookingStatus
from .views import SlotView, thawed

log = logging.getLogger("flask_rollingslots")
Function = TypeVar("Function", bound="Callable[[Event], object]")

#: Where a session keeps what it is to tell.
_KEPT = "rollingslots_events"
#: A function may book, and that be told again: so many times, or it would never end.
_GENERATIONS = 10


# -- the values that functions get


class _Plain:
    """Gives a frozen value as plain data."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; moments as ISO 8601."""
        found: tuple[Any, ...] = fields(self)  # type: ignore[arg-type]  # the classes below are dataclasses
        return {each.name: thawed(getattr(self, each.name)) for each in found}


@dataclass(frozen=True, slots=True)
class BookingView(_Plain):
    """A booking as it was at a moment: plain values. What is a person's is not in its ``repr``.

    ``key`` and ``starts_at`` are those of its slot.
    """

    id: int
    key: str
    starts_at: datetime
    party: int
    status: BookingStatus
    override: bool
    attendance: str | None
    repeats_id: int | None
    replaces_id: int | None
    created_at: datetime
    expires_at: datetime | None
    released_at: datetime | None
    who: str | None = field(repr=False)
    name: str | None = field(repr=False)
    contact: str | None = field(repr=False)
    note: str | None = field(repr=False)
    token: str | None = field(repr=False)

    @classmethod
    def of(cls, booking: BookingMixin, now: datetime) -> BookingView:
        """Return a booking as it is at a moment (aware)."""
        shown: dict[str, Any] = {each.name: getattr(booking, each.name, None) for each in fields(cls)}
        shown |= {"key": booking.slot.key, "starts_at": booking.slot.starts_at}
        return cls(**shown | {"status": booking.status_at(now), "override": bool(booking.override)})


@dataclass(frozen=True, slots=True)
class Event(_Plain):
    """Something that happened, and was committed. What is a person's is not in its ``repr``.

    :param name: what ``slots.on`` calls it.
    :param booking: as the call left it, like ``slot``; ``None`` where it is about neither.
    :param who: the person who acts; ``None``: a program, or nobody said.
    :param at: when the call was made, by the app's clock, aware, UTC.
    :param door: the way in: ``facade``, ``http``, ``cli``, ``pages``, ``topup``, or a word of the app's own.
    :param details: the other arguments of its signal, as plain values; of a report or a plan all that is in it.
    """

    name: str
    booking: BookingView | None
    slot: SlotView | None
    who: str | None = field(repr=False)
    at: datetime
    door: str
    details: Mapping[str, Any] = field(repr=False)


def _frozen(value: Any, now: datetime) -> Any:
    """Return a value that nobody changes: of rows what they say, of reports what they hold."""
    if isinstance(value, SlotMixin):
        return SlotView.of(value, now)
    if isinstance(value, BookingMixin):
        return BookingView.of(value, now)
    if isinstance(value, Mapping):
        return MappingProxyType({key: _frozen(each, now) for key, each in value.items()})
    if isinstance(value, list | tuple):
        return tuple(_frozen(each, now) for each in value)
    return value


def _details(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a signal beside slot and booking; what reports and plans hold stands by itself."""
    found: dict[str, Any] = {}
    for name, value in facts.items():
        if hasattr(value, "to_dict"):
            found |= value.to_dict() | {"bookings": getattr(value, "bookings", ())}
        else:
            found[name] = value
    return found


# -- the functions


class Listeners:
    """The functions of one ``RollingSlots``, by the events that they listen for."""

    def __init__(self) -> None:
        self._functions: dict[str, list[Callable[[Event], object]]] = {}

    @property
    def wanted(self) -> Mapping[str, object]:
        """Names of the events that somebody listens for."""
        return self._functions

    def add(self, names: Iterable[str], function: Function) -> Function:
        """Let a function listen for some events; twice is once.

        :raises InvalidRequest: for a name that no event has.
        """
        if not callable(function):
            raise refusal("function", function, "a function that takes one event")
        for name in names:
            if function not in self._functions.setdefault(name, []):
                self._functions[name].append(function)
        return function

    def of(self, name: str) -> tuple[Callable[[Event], object], ...]:
        """Return the functions that listen for an event, in the order in which they came."""
        return tuple(self._functions.get(name, ()))

    def take_down(self, work: Work, name: str, facts: dict[str, Any]) -> None:
        """Take down one event of a piece of work, to be told if its transaction is committed."""
        now, more = work.now, dict(facts)
        booking, slot = (more.pop(each, None) for each in ("booking", "slot"))
        event = Event(
            name,
            _frozen(booking, now),
            _frozen(slot, now),
            work.outbox.who,
            now.astimezone(UTC),
            work.outbox.door,
            _frozen(_details(more), now),
        )
        _Kept.of(work.session).add(_Telling(work.outbox.sender, self, event))


def check_names(names: Iterable[Any]) -> None:
    """Refuse what is no event.

    :raises InvalidRequest: names the nearest one.
    """
    known = set(EVENTS.values())
    for name in names:
        if name not in known:
            raise refusal("name", name, f"the name of an event.{nearest(str(name), known)}")


# -- from the call to the commit


class _Kept:
    """What a session is to tell once its outermost transaction is committed."""

    def __init__(self, session: Session) -> None:
        self._noted: list[tuple[SessionTransaction | None, _Telling]] = []
        self._committed: SessionTransaction | None = None
        # On this session alone, whoever made it.
        sa_event.listen(session, "after_commit", self._note_commit)
        sa_event.listen(session, "after_transaction_end", self._end)
        self._session = session

    @classmethod
    def of(cls, session: Session) -> _Kept:
        """Return what a session keeps; from the first event on."""
        found = session.info.get(_KEPT)
        if not isinstance(found, cls) or found._session is not session:
            found = session.info[_KEPT] = cls(session)
        return found

    def add(self, telling: _Telling) -> None:
        """Keep an event, in the transaction or savepoint that the session is in."""
        self._noted.append((_innermost(self._session), telling))

    def _note_commit(self, session: Session) -> None:
        self._committed = _innermost(session)

    def _end(self, session: Session, over: SessionTransaction) -> None:
        """Drop what a transaction takes along that was not committed; tell all after the outermost one."""
        if over.parent is not None and not over.nested:  # a part of the session's own work, such as a flush
            return
        is_committed, self._committed = self._committed is over, None
        if not is_committed:
            self._noted = [(kept, telling) for kept, telling in self._noted if over not in _around(kept)]
        elif over.parent is None:
            tellings, self._noted = [telling for _, telling in self._noted], []
            if tellings:
                _tell(tellings)


def _innermost(session: Session) -> SessionTransaction | None:
    return session.get_nested_transaction() or session.get_transaction()


def _around(transaction: SessionTransaction | None) -> Iterator[SessionTransaction]:
    while transaction is not None:
        yield transaction
        transaction = transaction.parent


# -- after the commit


@dataclass(frozen=True, slots=True)
class _Telling:
    """An event to be told to the functions that listen for it by then."""

    app: Any
    listeners: Listeners
    event: Event

    def tell(self) -> None:
        """Call the functions, each in an app context of its own."""
        for function in self.listeners.of(self.event.name):
            try:
                with self.app.app_context():
                    function(self.event)
            except Exception:  # functions are the app's code
                name = getattr(function, "__qualname__", type(function).__name__)
                self.complain(f"{getattr(function, '__module__', '')}.{name} failed on")

    def complain(self, what: str) -> None:
        """Log with which event something went wrong; of the error only what holds no person's data."""
        event = self.event
        about = (event.name, event.slot and event.slot.key, event.booking and event.booking.id, event.door)
        text = "%s the event %s at %s (slot %s, booking %s, by %s)"
        extra = {"action": "event_failed", "is_private": True}
        log.exception(text, what, about[0], event.at.isoformat(), *about[1:], extra=extra)


class _Round:
    """Events that are being told one after the other, in one thread."""

    def __init__(self, tellings: Iterable[_Telling]) -> None:
        self._queue = deque((telling, 1) for telling in tellings)
        self._thread, self._generation = threading.get_ident(), 1

    def takes(self, tellings: Iterable[_Telling]) -> bool:
        """Take in more, which one of the functions committed; whether this goes on in this thread."""
        if self._thread != threading.get_ident():
            return False
        for telling in tellings:
            if self._generation < _GENERATIONS:
                self._queue.append((telling, self._generation + 1))
            else:
                telling.complain("functions that make new events without end: not told was")
        return True

    def run(self) -> None:
        """Tell all, also what comes meanwhile."""
        try:
            while self._queue:
                telling, self._generation = self._queue.popleft()
                telling.tell()
        finally:
            self._thread = -1


#: What is being told now, where this is called from.
_round: ContextVar[_Round | None] = ContextVar("rollingslots_events", default=None)


def _tell(tellings: list[_Telling]) -> None:
    """Tell some events: now, or after those that are being told by one of whose functions they were committed."""
    under_way = _round.get()
    if under_way is not None and under_way.takes(tellings):
        return
    mine = _Round(tellings)
    token = _round.set(mine)
    try:
        mine.run()
    finally:
        _round.reset(token)
