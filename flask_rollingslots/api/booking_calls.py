"""The calls about bookings: places are booked, held, waited for, changed and given back, by staff and by persons.

A person, for whom ``authorize`` returns a name, sees and changes bookings in this name only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from flask import Response, url_for

from .. import errors
from ..facade import RollingSlots
from ..models import BookingMixin, TemplateMixin
from ..values import SlotKey
from . import answers, bodies
from .access import Needs
from .operations import Call
from .problems import Problem, invalid
from .routes import calls, no_content, series_of

__all__ = ["calls"]

_LONGEST_KEY = 64
_TOKEN = re.compile("[A-Za-z0-9_-]{1,43}")
#: So many bookings are looked at for one page of a list of which the sender may see only some, and how often.
_PORTION, _PORTIONS = 500, 20
booking_call = partial(calls.add, tag="bookings")
_BOOKED = {201: (answers.BookingAnswer, answers.RepeatAnswer), 200: answers.RepeatAnswer}


@booking_call("POST", "/slots/<key>/bookings", _BOOKED, body=bodies.BookingBody, headers=("Idempotency-Key",))
def create_booking(call: Call) -> Response:
    """Take places in a slot, stored or virtual; never more than it has.

    With ``hold_minutes`` they are free again after that time, unless they are confirmed. With ``wait`` a place on the
    waiting list of a full slot is taken. With ``count`` or ``until`` the same slot is booked every week: all weeks or
    none, or with ``conflicts`` ``skip`` what is free (200 if nothing is); a refusal has a ``report``. With an
    ``Idempotency-Key`` the same request again returns the same booking; the key belongs to ``who``. Without a token a
    hold has the limits of a person: ``HOLD_MINUTES_MAX``, and for each ``who`` ``HOLDS_PER_PERSON``. ``override`` is
    for staff: with the token, or where ``authorize`` says ``True`` to ``override``.
    """
    body, longest = call.body, call.slots.settings.hold_minutes_max
    body.check()
    if not call.grant.is_trusted and (body.hold_minutes or 0) > longest:
        raise invalid("hold_minutes", body.hold_minutes, f"at most {longest:,}")
    key, segments = series_of(call, "read")
    meant = list(_meant(key, segments, body.repeats))
    who = _person(call, key, meant, body.who)
    if body.override:
        _require_override(call, key, meant)
    once = call.header("Idempotency-Key", _LONGEST_KEY)
    with call.transaction() as slots:
        if body.repeats:
            return _repeated(call, slots, key, who, once)
        made = _taken(call, slots, key, who, once)
        return call.answer(answers.BookingAnswer, made, 201, _address(made))


def _taken(call: Call, slots: RollingSlots, key: str, who: str | None, once: str | None) -> BookingMixin:
    """Book, hold or wait, as the body says."""
    body = call.body
    person = {name: getattr(body, name) for name in ("name", "contact", "note")}
    if body.wait:
        return slots.wait(key, body.party, who, idempotency_key=once, **person)
    if body.hold_minutes is None:
        return slots.book(key, body.party, who, once, override=body.override, **person)
    is_person = not call.grant.is_trusted
    return slots.hold(key, body.party, who, once, body.hold_minutes, is_person=is_person, **person)


def _repeated(call: Call, slots: RollingSlots, key: str, who: str | None, once: str | None) -> Response:
    """Book every week."""
    names = ("count", "until", "every", "conflicts", "party", "name", "contact", "note", "override")
    asked = {name: getattr(call.body, name) for name in names}
    report = slots.book_series(key, who=who, idempotency_key=once, **asked)
    if not report.bookings:
        return call.answer(answers.RepeatAnswer, report)
    return call.answer(answers.RepeatAnswer, report, 201, _address(report.bookings[0]))


def _address(booking: BookingMixin) -> str:
    return url_for(".get_booking", booking_id=booking.token or booking.id)


def _meant(key: str, segments: Sequence[TemplateMixin], repeats: bool) -> Iterator[TemplateMixin]:
    """Yield the segment to which a slot belongs; of a person's series also all that follow."""
    start = SlotKey.parse(key).original_start
    ends = [each for each in segments if each.active_until is None or start < each.active_until]
    in_order = sorted(ends, key=lambda each: each.active_from or datetime.min) or list(segments[-1:])
    yield from in_order if repeats else in_order[:1]


def _person(call: Call, key: str, segments: Iterable[TemplateMixin], who: str | None) -> str | None:
    """Return in whose name is booked: who may book for one person only cannot name another."""
    for template in segments:
        person = call.grant.require("book", template, slot=call.slot(key))
        if isinstance(person, str) and who not in (None, person):
            raise Problem("forbidden", "you may book in your own name only: leave who out")
        who = person if isinstance(person, str) else who
    return who


def _require_override(call: Call, key: str, segments: Iterable[TemplateMixin]) -> None:
    slot = call.slot(key)
    for template in segments:
        call.grant.require_override(template, slot)


# -- lists


@booking_call(
    "GET", "/bookings", answers.BookingPage, Needs.WRITE, query=bodies.BookingsQuery, refusals=(404,)
)
def list_bookings(call: Call) -> Response:
    """List bookings by the start of their slots: of a person, a slot, a series, a group, or a span; no public read.

    Without ``live=false`` what takes places now, with ``waiting=true`` also who waits. Whoever may see their own only
    gets those, and 403 for another ``who``.
    """
    query = call.query
    meant = _templates(call)
    who, sees = _whose(call, meant)
    zone = ZoneInfo(call.slots.settings.timezone if query.template is None else meant[0].timezone)
    start, end = bodies.instant(query.start, zone), bodies.instant(query.end, zone)
    if start is not None and end is not None and end < start:
        raise invalid("end", query.end, "a moment not before start")
    asked = {name: getattr(query, name) for name in ("slot", "template", "group", "live", "waiting")}
    asked |= {"start": start, "end": end, "sees": sees}
    visible: list[BookingMixin] = []
    after, is_over = query.cursor, False
    for _ in range(_PORTIONS):
        portion = query.limit + 1 if call.grant.sees_all else _PORTION
        found = call.slots.bookings(who, **asked, limit=portion, after=after)
        visible += found if call.grant.sees_all else filter(call.grant.sees_booking, found)
        is_over = len(found) < portion
        if is_over or len(visible) > query.limit:
            break
        after = found[-1].id
    shown = visible[: query.limit]
    if len(visible) > len(shown):
        after = shown[-1].id
    return call.page(answers.BookingPage, shown, after if len(visible) > len(shown) or not is_over else None)


def _whose(call: Call, meant: Sequence[TemplateMixin]) -> tuple[str | None, Any]:
    """Return whose bookings are listed, and what says of a template whether its bookings may be among them."""
    query, grant = call.query, call.grant
    if grant.sees_all:
        return query.who, None
    said = {template.id: grant.may("book", template) for template in meant if grant.sees(template)}
    names = {each for each in said.values() if isinstance(each, str)}
    if not any(said.values()):
        whole = grant.require("book", None)
        names = {whole} if isinstance(whole, str) else names
    own = names.pop() if len(names) == 1 and True not in said.values() else None
    if own is not None and query.who not in (None, own):
        raise Problem("forbidden", "you may see your own bookings only: leave who out")
    return own or query.who, lambda template: bool(said.get(template.id))


def _templates(call: Call) -> Sequence[TemplateMixin]:
    """Return the templates whose bookings are asked for; what the sender may not know of is not found."""
    query, grant = call.query, call.grant
    if query.slot is not None:
        found = call.slots.segments(query.slot)
        grant.require_all("read", found, errors.no_slot(query.slot))
        return found
    if query.template is not None:
        template = call.template(query.template)
        series = template.series_id or template.id
        return call.slots.segments(str(SlotKey(series, template.dtstart)))
    return () if grant.sees_all else call.slots.templates(group=query.group)


# -- one booking


@booking_call("GET", "/bookings/<booking_id>", answers.BookingAnswer, Needs.WRITE)
def get_booking(call: Call) -> Response:
    """Return a booking, by its id or its token; not a public read, for it may name a person."""
    return call.answer(answers.BookingAnswer, _booking(call))


@booking_call("PATCH", "/bookings/<booking_id>", answers.BookingAnswer, body=bodies.BookingChange)
def change_booking(call: Call) -> Response:
    """Change how many a booking is for, its slot, its person, or whether its people came; all that is said, or nothing.

    With ``slot`` it moves and is answered with its new id, and the same token. Until when a person may move, or come
    with fewer, is as for giving back. ``override`` and ``attendance`` are for staff: with the token, or where
    ``authorize`` says ``True`` to ``override``.
    """
    body, found = call.body, _booking(call)
    body.check()
    said = body.model_fields_set
    if body.override or "attendance" in said:
        call.grant.require_override(found.slot.template, found.slot, found)
    number, party = found.id, found.party
    if "slot" in said:
        _require_place(call, body, found)
    with call.transaction() as slots:
        changed: BookingMixin | int = number
        wanted = body.party if "party" in said else party
        if wanted < party:  # before it moves, so that it finds room
            changed = slots.change_party(changed, wanted, body.override)
        if "slot" in said:
            changed = slots.move(changed, body.slot, body.override)
        if "party" in said and wanted >= party:
            changed = slots.change_party(changed, wanted, body.override)
        if "attendance" in said:
            changed = slots.mark(changed, body.attendance)
        if body.person:
            changed = slots.change_person(changed, **body.person)
        return call.answer(answers.BookingAnswer, slots.get_booking(changed))


def _require_place(call: Call, body: bodies.BookingChange, found: BookingMixin) -> None:
    """Refuse to move a booking where its person may not book."""
    segments = call.slots.segments(body.slot)
    call.grant.require_all("read", segments, errors.no_slot(body.slot), slot=call.slot(body.slot))
    meant = list(_meant(body.slot, segments, repeats=False))
    _person(call, body.slot, meant, found.who)
    if body.override:
        _require_override(call, body.slot, meant)


@booking_call("GET", "/bookings/<booking_id>/history", answers.BookingList, Needs.WRITE)
def get_history(call: Call) -> Response:
    """Return a booking with those from which it moved and those to which, the oldest first; all have one token."""
    found = call.slots.history(_booking(call))
    return call.answer(answers.BookingList, items=[each for each in found if call.grant.sees_booking(each)])


@booking_call("POST", "/forgotten", answers.Forgotten, body=bodies.ForgetBody)
def forget_person(call: Call) -> Response:
    """Take a person out of all bookings: name, contact, note and ``who`` go, places and counts stay.

    For staff: with the token, or where ``authorize`` says ``True`` to ``override`` of all templates.
    """
    call.grant.require_override(None)
    with call.transaction() as slots:
        return call.answer(answers.Forgotten, count=slots.forget(call.body.who))


@booking_call("POST", "/bookings/<booking_id>/confirm", answers.BookingAnswer)
def confirm_booking(call: Call) -> Response:
    """Make a hold, or an offer to who waited, a booking; a second time changes nothing."""
    number = _booking(call).id
    with call.transaction() as slots:
        return call.answer(answers.BookingAnswer, slots.confirm(number))


@booking_call("DELETE", "/bookings/<booking_id>", {204: None}, query=bodies.ReleaseQuery)
def release_booking(call: Call) -> Response:
    """Give the places of a booking or a hold back, or stop to wait; a second time changes nothing.

    Until ``cancel_before`` ahead of the start, else until the start: then 409 ``slot_closed``. ``override`` is for
    staff: with the token, or where ``authorize`` says ``True`` to ``override``. With ``following`` this booking and
    all later ones of the person's series are given back, or none; ``too_late`` then names those that stay.
    """
    found, query = _booking(call), call.query
    if query.override:
        call.grant.require_override(found.slot.template, found.slot, found)
    number = found.id
    with call.transaction() as slots:
        if not query.following:
            slots.release(number, query.override)
            return no_content()
        for each in slots.release(number, query.override, following=True):
            call.grant.require_booking(each)
            if query.override:
                call.grant.require_override(each.slot.template, each.slot, each)
    return no_content()


def _booking(call: Call) -> BookingMixin:
    text = call.path["booking_id"]
    if not _TOKEN.fullmatch(text):
        raise errors.no_booking(text)
    reference = int(text) if text.isdigit() and len(text) <= 18 else text
    found = call.slots.get_booking(reference)
    call.grant.require_booking(found)
    return found
