"""What calendar programs subscribe to: the calendar, from last month on, and its secret addresses.

A secret is a signed note: which group, the number of its address, and perhaps until when it holds. Nothing of it is
stored but that number, which grows when the address is withdrawn. A new key withdraws all addresses, unless the old
one is kept beside it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from itsdangerous import BadData, URLSafeSerializer
from itsdangerous.encoding import want_bytes
from sqlalchemy import ColumnElement, and_, func, or_, select, update

from .. import planning
from ..browsing import check_aware, complain
from ..context import Work, is_decided
from ..errors import ConfigError, RollingSlotsError, refusal
from ..models import TemplateMixin, table_of
from ..recurrence.zones import instant_of, minus, wall_of
from ..statements import insert_if_absent
from ..values import MICROSECOND, OCCUPYING, PlannedSlot, SlotKey, TemplateSpec, Window
from .entries import StoredTemplate
from .exchange import meant, templates_where, with_overrides
from .ics_writing import HOST, SLACK, Feed, feed_bytes, last_change

_CHUNK = 500
#: What a feed reads of a slot.
_SHOWN = ("original_start", "starts_at", "ends_at", "status", "data", "name", "cancel_reason", "changed_at")
_NO_HOST = re.compile(r"[^a-z0-9.-]+")
#: Longer than any secret: a group has at most 200 characters, and each at most 16 in base64 of JSON.
_LONGEST = 4000


# -- the calendar


class Calendar(NamedTuple):
    """A calendar to subscribe to, and when (aware) it became what it is: it changes with slots and with months."""

    content: bytes
    changed_at: datetime


def calendar(
    work: Work,
    template_id: int | None,
    group: str | None,
    sees: Callable[[TemplateMixin], bool],
    host: str,
    shows: Callable[[TemplateMixin], Collection[str] | None],
) -> Calendar:
    """Return the active templates as a calendar, from last month on; one that cannot be written is left out.

    :param group: only the templates of this group; none is no error.
    :param shows: returns which keys of a template's ``data`` are in it; ``None``: all.
    :param host: what makes UIDs unique where ``ROLLINGSLOTS_FEED_HOST`` is not set: a host, perhaps with its port.
    :raises TemplateNotFound: if there is no such template, or it is not in the group.
    :raises InvalidRequest: if it has too many events.
    """
    host = (work.settings.feed_host or host).rpartition("@")[2].lower().partition(":")[0]
    named, most = _NO_HOST.sub("-", host) or HOST, work.settings.events_max
    feed = Feed(work.now, named, group or "Slots", complain, most, work.steps)
    conditions = [*meant(work, template_id, group), work.models.Template.active.is_(True)]
    templates = [each for each in templates_where(work, conditions) if sees(each)]
    feed = replace(feed, is_of_one=len(templates) == 1)
    shift, conditions = (
        max((each.shift for each in templates), default=timedelta(0)),
        [*conditions, _is_other(work)],
    )
    read = with_overrides(work, templates, [*conditions, _since(work, feed, shift)], _SHOWN, most // 2 + 1)
    if sum(len(each.overrides) for each in read) > most // 2:
        feed, until = _nearest(work, feed, conditions)
        conditions += [_since(work, feed, shift), *([] if until is None else [_before(work, until, shift)])]
        read = [_ending(each, until) for each in with_overrides(work, templates, conditions, _SHOWN)]
    shown = [each.showing(shows(template)) for each, template in zip(read, templates, strict=True)]
    found = _without_crowded(work, shown)
    return Calendar(feed_bytes(found, feed), last_change(found, feed))


def _is_other(work: Work) -> ColumnElement[bool]:
    """Return, in SQL, whether a slot may not be as its rule says: not what a top-up or a booking left as it was."""
    slot, cls = work.models.Slot, work.models.Template
    is_elsewhere = or_(slot.withdrawn.is_not(None), slot.displaced.is_not(None))
    is_unsettled = cls.settled_revision.is_distinct_from(cls.revision)
    is_kept = and_(or_(slot.booked > 0, slot.run_id.is_(None)), or_(is_elsewhere, is_unsettled))
    return or_(is_decided(work.models), slot.own_name.is_not(None), is_kept)


def _since(work: Work, feed: Feed, shift: timedelta) -> ColumnElement[bool]:
    """Return, in SQL, whether a slot is, or was meant to be, late enough; some more rather than less: zones differ."""
    slot, first = work.models.Slot, feed.since - SLACK
    is_meant = slot.original_start >= min(first, minus(first, shift))
    return or_(slot.starts_at >= first.replace(tzinfo=UTC), is_meant)


def _before(work: Work, until: datetime, shift: timedelta) -> ColumnElement[bool]:
    slot, last = work.models.Slot, until.replace(tzinfo=None) + SLACK
    return or_(slot.starts_at < until, slot.original_start < max(last, minus(last, shift)))


def _nearest(
    work: Work, feed: Feed, conditions: Iterable[ColumnElement[bool]]
) -> tuple[Feed, datetime | None]:
    """Return a feed that leaves out past days, and where (aware) it ends: before more slots than it may hold.

    A slot that is left out for itself would be shown as its rule has it, although it was cancelled.
    """
    slot, cls, most = work.models.Slot, work.models.Template, feed.most // 2
    today = work.now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    query = select(slot.starts_at).join(cls, cls.id == slot.template_id).where(*conditions)
    query = query.where(slot.starts_at >= today).order_by(slot.starts_at).offset(most).limit(1)
    until, note = (
        work.session.scalar(query),
        f"Past days are left out: over {most:,} slots are not as their rule says.",
    )
    if until is not None:
        note = f"Only up to {until:%Y-%m-%d %H:%M} UTC: until then {most:,} slots are not as their rule says."
    text = f"{note} A calendar of one group or template holds more."
    return replace(feed, begins=today.replace(tzinfo=None), note=text), until


def _ending(template: StoredTemplate, until: datetime | None) -> StoredTemplate:
    """Return a template that promises nothing from a moment on."""
    if until is None:
        return template
    spec = template.spec
    end = minus(wall_of(until, ZoneInfo(spec.timezone)), spec.shift)
    return replace(template, spec=replace(spec, active_until=min(end, spec.active_until or end)))


def _without_crowded(work: Work, templates: list[StoredTemplate]) -> list[StoredTemplate]:
    """Leave out what a rule says at an instant where a slot of the series stayed, as reading does."""
    segments: defaultdict[int, list[TemplateSpec]] = defaultdict(list)
    for each in templates:
        segments[each.spec.series_id].append(each.spec)
    rivals: dict[SlotKey, PlannedSlot] = {}
    for each in templates:
        # Of one that cannot be read writing says so, and leaves it out.
        with suppress(RollingSlotsError, ValueError, LookupError, OSError, ArithmeticError):
            rivals |= {slot.key: slot for slot in _rivals(segments[each.spec.series_id], each)}
    for key in _stored_among(work, rivals):
        rivals.pop(key, None)
    gone: defaultdict[int, list[datetime]] = defaultdict(list)
    for slot in rivals.values():
        gone[slot.spec.id].append(slot.original_start)
    return [each.without(gone[each.spec.id]) for each in templates]


def _rivals(segments: list[TemplateSpec], template: StoredTemplate) -> Iterator[PlannedSlot]:
    """Yield what the rules of a series have at the instants of slots that are not where their rule says."""
    zone = ZoneInfo(template.spec.timezone)
    for each in template.overrides:
        at = each.starts_at
        if at is None or each.status not in OCCUPYING:
            continue
        if at != instant_of(each.original_start + template.spec.shift, zone):
            for spec in segments:
                yield from planning.planned(spec, Window(at, at + MICROSECOND))


def _stored_among(work: Work, keys: Collection[SlotKey]) -> Iterator[SlotKey]:
    """Yield the keys with a row, and others of the same series and original starts."""
    cls, starts = work.models.Slot, sorted({key.original_start for key in keys})
    query = select(cls.series_id, cls.original_start).where(
        cls.series_id.in_({key.series_id for key in keys})
    )
    for first in range(0, len(starts), _CHUNK):
        some = query.where(cls.original_start.in_(starts[first : first + _CHUNK]))
        yield from (SlotKey(*row) for row in work.session.execute(some).all())


# -- secret addresses


class SecretFeed(NamedTuple):
    """What a secret address stands for: the slots of a group; ``None``: of all templates."""

    group: str | None


def feed_secret(
    work: Work, group: str | None, keys: Sequence[str | bytes], expires_at: datetime | None = None
) -> str:
    """Return the secret in the address of a group's calendar, the same one until it is withdrawn.

    :param keys: the app's secret keys, the one that signs last; none: the app has no ``SECRET_KEY``.
    :param expires_at: aware; to the second.
    :raises ConfigError: if there is no key.
    :raises InvalidRequest: if it is over before it begins.
    """
    if not keys:
        raise ConfigError("secret addresses of feeds are signed: set SECRET_KEY", key="SECRET_KEY")
    note: list[Any] = [group, _number(work, group)]
    if expires_at is not None:
        check_aware(expires_at=expires_at)
        if expires_at <= work.now:
            raise refusal("expires_at", expires_at, "a moment to come")
        note.append(int(expires_at.timestamp()))
    return str(_signer(keys).dumps(note))


def feed_of(work: Work, secret: str, keys: Sequence[str | bytes]) -> SecretFeed | None:
    """Return what a secret stands for; ``None`` if it is none of ours, was withdrawn, or is over."""
    if not keys or len(secret) > _LONGEST:
        return None
    try:
        group, number, *until = _signer(keys).loads(secret)
    except (BadData, ValueError, TypeError):
        return None
    if not isinstance(group, str | None) or not isinstance(number, int) or number != _number(work, group):
        return None
    if until and not (isinstance(until[0], int) and work.now.timestamp() < until[0]):
        return None
    return SecretFeed(group)


def revoke_feed_secret(work: Work, group: str | None) -> None:
    """Let a group's secret address hold no more, in the caller's transaction; all others go on."""
    table, digest = table_of(work.models.FeedAddress), _digest(group)
    first = {"group_digest": digest, "number": _number(work, group)}
    work.session.execute(insert_if_absent(table, work.dialect), [first])
    raised = update(table).where(table.c.group_digest == digest).values(number=table.c.number + 1)
    work.session.execute(raised)


def _number(work: Work, group: str | None) -> int:
    """Return the number that a group's secret address has to carry."""
    address, lease, digest = work.models.FeedAddress, work.models.Lease, _digest(group)
    number = select(address.number).where(address.group_digest == digest).scalar_subquery()
    # Where it was counted before there was a table for it: no address that was withdrawn holds again.
    before = select(lease.token).where(lease.name == f"feed:{digest[:48]}").scalar_subquery()
    return int(work.session.scalar(select(func.coalesce(number, before, 0))) or 0)


def _digest(group: str | None) -> str:
    return "" if group is None else sha256(group.encode("utf-8", "surrogatepass")).hexdigest()


def _signer(keys: Sequence[str | bytes]) -> URLSafeSerializer:
    options = {"key_derivation": "hmac", "digest_method": sha256}
    return URLSafeSerializer([*map(want_bytes, keys)], salt="rollingslots feed", signer_kwargs=options)
