"""Resources: a court, a room, a teacher that two bookings cannot have at once; machines of which there are so many.

The resource's row is locked before anything else of a booking is written, so that all bookings of one resource
follow one another, on every database; then what overlaps is looked for. What an app changes by itself through the
ORM, a template's resource or a slot's time, is held to the same while it is flushed; no app is known there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import and_, inspect, or_, select, true, update
from sqlalchemy.orm import Session

from .. import planning
from ..browsing import promised_at, promised_by, row_at
from ..context import Work, load_slots, load_specs, row_of, segments, virtual_slot
from ..errors import InvalidTemplate, LostRace, SlotClosed, no_slot, no_template, refusal
from ..models import (
    BookingMixin,
    Models,
    Seen,
    SlotMixin,
    Stay,
    TemplateMixin,
    claim_columns,
    forget_busy,
    has_claim,
    is_excluded,
    load_busy,
    load_neighbours,
    most_taken,
    table_of,
    taken_of_pool,
)
from ..models.places import have_in_common
from ..statements import (
    MARIADB,
    atomic,
    dialect_of,
    exclusive,
    hold_writers,
    insert_or_lock,
    leave_trace,
    locked,
    made_here,
    newest,
    only_if,
    take_write_lock,
)
from ..values import (
    OCCUPYING,
    BookingStatus,
    Claim,
    PlannedSlot,
    SlotKey,
    State,
    Status,
    TemplateSpec,
    key_of,
    live_places,
)

#: How often a slot is looked for again whose series was changed between a look and the lock.
_TRIES = 3
#: More than a zone can be away from UTC.
_A_ZONE = timedelta(days=2)
#: The fields of a template that say for how long a booking has its resource beside the slot itself.
_WIDENING = ("setup", "cleanup")
#: The fields that say what its bookings take.
CLAIMED = ("resource", "exclusive", "pool", "group", "resource_shared", *_WIDENING)


#: Gives a template that nobody changes from now on, as plain values: as it is by now.
Keep = Callable[[TemplateMixin], TemplateSpec]


@contextmanager
def slot_row(
    work: Work,
    key: str | SlotKey | SlotMixin,
    keep: Keep | None = None,
    *,
    hidden: bool = False,
    ended: bool = False,
    inactive: bool = False,
    locks: bool = False,
) -> Iterator[SlotMixin]:
    """Give the row at a key, made if need be, once its resource and its template are locked: idempotent.

    If the body is refused, a row that was made for it goes again. Slots that have a row cost no savepoint. In a dry
    run nothing is locked or made: a virtual slot stays one.

    :param keep: how the template is locked; by default as for a booking, so that no decision about it is written
        meanwhile.
    :param hidden: give a deleted slot too.
    :param ended: also make a row of what was cancelled or deleted with its series.
    :param inactive: also make a row of what a template that is switched off would promise.
    :param locks: lock the row too.
    :raises InvalidKey: if the key has another form.
    :raises SlotNotFound: if the rule has no such start, a virtual slot has ended, or the slot was deleted.
    :raises LostRace: if its series is changed again and again, or this transaction cannot see how.
    """
    slot_key, look = key_of(key), _Look(hidden, ended, inactive, locks)
    if work.dry_run:
        row = look.row(work, slot_key)
        yield row or virtual_slot(work.models, *promised_at(work, slot_key, ended, inactive), work.now)
        return
    take_write_lock(work.session, table_of(work.models.Slot))
    with ExitStack() as undo:
        found = None
        for _ in range(_TRIES):
            found = look.kept(work, slot_key, keep or partial(lock_offer, work), undo)
            if found is not None:
                break
            for segment in segments(work, [slot_key.series_id]):
                work.session.expire(segment)
        if found is None:
            raise LostRace
        if found.status == Status.DELETED and not hidden:
            raise no_slot(slot_key)
        yield found


class _Look(NamedTuple):
    """How a slot is looked for; the fields are parameters of ``slot_row``."""

    hidden: bool
    ended: bool
    inactive: bool
    locks: bool

    def row(self, work: Work, key: SlotKey) -> SlotMixin | None:
        """Return the row that there is by now."""
        row = row_at(work, key)
        if row is not None and row.status == Status.DELETED and not self.hidden:
            raise no_slot(key)
        return row

    def kept(self, work: Work, key: SlotKey, keep: Keep, undo: ExitStack) -> SlotMixin | None:
        """Return the row, made if need be, its template locked; ``None``: that was changed before it was locked."""
        row = self.row(work, key)
        template = row.template if row is not None else promised_at(work, key, self.ended, self.inactive)[1]
        if template is None:  # made since this transaction began to read
            raise LostRace
        before = template.revision
        if row is None:
            undo.enter_context(atomic(work.session, work.models.classes))  # with what the locks write
        spec = keep(template)
        if row is None:
            planned = promised_by(work, spec, key, self.ended, self.inactive)
            row = _made(work, planned) if planned is not None else None
        elif self.locks or spec.revision != before:
            work.session.expire(row)
            row = row_at(work, key, newest_one=self.locks)
        return row if row is not None and row.template_id == spec.id else None


def _made(work: Work, planned: PlannedSlot) -> SlotMixin | None:
    """Make a slot's row."""
    values = row_of(planned, work.now)
    leave_trace(work.session, table_of(work.models.Template), [planned.spec.id])
    work.session.execute(insert_or_lock(table_of(work.models.Slot), work.dialect), [values])
    row = row_at(work, SlotKey(planned.spec.series_id, planned.original_start), newest_one=True)
    if row is not None:
        made_here(work.session, row)
    return row


@contextmanager
def slot_to_book(
    work: Work,
    key: str | SlotKey | SlotMixin,
    lock_first: Callable[[TemplateMixin], None] = lambda _template: None,
) -> Iterator[SlotMixin]:
    """Give the row at a key as its template says by now, and keep that from changing; else as ``slot_row``.

    :param lock_first: locks what is to be locked before a template's resource, such as a person, once.
    :raises LostRace: if the row was removed meanwhile, too.
    """
    # With the template itself: else the session forgets it, and reads it again from MariaDB's snapshot, which is older.
    kept: dict[int, tuple[TemplateSpec, bool, TemplateMixin]] = {}

    def keep(template: TemplateMixin) -> TemplateSpec:
        lock_first(template)
        lock_exclusive(work, template)
        was_apart = _keep_offer(work, template.id)
        kept[template.id] = _as_locked(work, template), was_apart, template
        # What it has got meanwhile: out of order, and so rare that databases sort it out.
        lock_first(template)
        return kept[template.id][0]

    with slot_row(work, key, keep) as slot:
        spec, was_apart, _ = kept[slot.template_id]
        # After the row was made: on MariaDB this look keeps others from making theirs.
        is_apart = was_apart and _is_still_apart(work, spec.id)
        _renew(work, slot, spec)
        slot.rolling_neighbours = () if is_apart else None
        yield slot


def lock_offer(work: Work, template: TemplateMixin) -> TemplateSpec:
    """Keep a template from changing until the app commits, its resource locked before; return it as it is by now.

    Where slots of its series may overlap each other, only one booking of it goes on at a time.

    :raises TemplateNotFound: if it was deleted.
    """
    lock_exclusive(work, template)
    if _keep_offer(work, template.id):
        _is_still_apart(work, template.id)
    return _as_locked(work, template)


def _as_locked(work: Work, template: TemplateMixin) -> TemplateSpec:
    """Return a template that is locked, as it is by now; what the session knows of it is read again if it changed.

    :raises TemplateNotFound: if it was deleted.
    :raises LostRace: if it claims another resource by now, and somebody else has that.
    """
    spec, held = _read_offer(work, template.id), _claim_of(template)
    if spec.revision != template.revision:
        work.session.refresh(template, with_for_update={"read": True})
        claim = _claim_of(template)
        if claim is not None and claim != held and not lock_at_once(work, claim):
            raise LostRace
    return spec


def _claim_of(template: TemplateMixin) -> str | None:
    return template.resource if template.claim is not None else None


def lock_at_once(work: Work, name: str) -> bool:
    """Lock a resource out of order: only if nobody has it, for two that wait for each other wait for ever."""
    table = table_of(work.models.Resource)
    query = exclusive(select(table.c.id).where(table.c.name == name), work.dialect, skips=True)
    if work.session.scalar(query) is None:
        return False
    lock_resource(work.session, work.models, name)
    return True


def _keep_offer(work: Work, template_id: int) -> bool:
    """Keep a template from changing; return whether slots of its series could not overlap each other before.

    Who waited for a decision does not know what it left, and has the template alone: two that share it could not both
    go on to have it alone.
    """
    take_write_lock(work.session, table_of(work.models.Slot))
    is_apart = _is_apart(work, template_id)
    if not (is_apart and _lock_template(work, template_id, locked)):
        _lock_template(work, template_id, exclusive)
        return False
    return True


def _is_still_apart(work: Work, template_id: int) -> bool:
    """Whether that is so now that the template is locked; if not, nobody else books the series meanwhile."""
    if work.dialect == "sqlite":  # has one writer
        return True
    if is_apart(work, template_id):
        return True
    _lock_template(work, template_id, exclusive)
    return False


def _lock_template(work: Work, template_id: int, how: Callable[[Any, str], Any]) -> bool:
    """Lock a template; return whether it is ours: ``locked`` leaves it to others who have it, and waits for none."""
    cls = work.models.Template
    if work.dialect == "sqlite":
        return True
    return work.session.scalar(how(select(cls.id).where(cls.id == template_id), work.dialect)) is not None


def is_apart(work: Work, template_id: int) -> bool:
    """Whether slots of a series cannot overlap each other, by what is committed now; its template is kept as it is."""
    return _is_apart(work, template_id, lock=work.dialect in MARIADB)


def _is_apart(work: Work, template_id: int, lock: bool = False) -> bool:
    """Whether slots of a series cannot overlap each other: it says so by itself, and none is beside its time.

    :param lock: see what others committed meanwhile, where a transaction would else read an older state.
    """
    cls, slot = work.models.Template, work.models.Slot
    query: Any = select(
        cls.series_id,
        or_(cls.overlapping == true(), cls.exclusive == true(), cls.pool.is_not(None)),
        cls.settled_revision == cls.revision,
    ).where(cls.id == template_id)
    row = work.session.execute(query.with_for_update(read=True) if lock else query).one_or_none()
    if row is None or row[1] or not row[2]:
        return row is None or bool(row[1])
    near = (slot.series_id == row.series_id, slot.ends_at > work.now)
    # MariaDB locks all that an index leads it to: only the index of displaced slots may.
    displaced: Any = (
        select(slot.id).where(slot.displaced == true(), only_if(*near) if lock else and_(*near)).limit(1)
    )
    return work.session.scalar(displaced.with_for_update(read=True) if lock else displaced) is None


def _read_offer(work: Work, template_id: int) -> TemplateSpec:
    """Return a template that is locked, as it is by now.

    :raises TemplateNotFound: if it was deleted.
    """
    specs = load_specs(work, work.models.Template.id == template_id, newest=True)
    if not specs:
        raise no_template(template_id)
    return specs[0]


def _renew(work: Work, slot: SlotMixin, spec: TemplateSpec) -> None:
    """Bring the row of a slot that somebody wants to book in line with its template, which is locked.

    :raises LostRace: if the row is gone.
    """
    # Locked only if there is something to do: whoever moves a booking locks both slots, in their order.
    mine, values = work.models.Slot.id == slot.id, dict[str, Any]()
    for lock in (False, True):
        rows = load_slots(work, mine, wholly=True, lock=lock)
        if rows and rows[0].template_id == spec.id:
            values = planning.by_now(spec, rows[0], work.now)
            if not values:
                return
        elif lock:
            raise LostRace
    if values:
        table = table_of(work.models.Slot)
        work.session.execute(update(table).where(table.c.id == slot.id).values(values))
        forget_busy(work.session)
        work.session.expire(slot)


def is_crowded(work: Work, slot: SlotMixin) -> bool:
    """Whether another slot of the series has the time of this one, by what is committed now."""
    template, neighbours = slot.template, slot.rolling_neighbours
    if template.may_overlap:
        return False
    if neighbours is None:
        neighbours = load_neighbours(work.session, work.models, slot, lock=work.dialect in MARIADB)
    return any(other.blocks(slot, work.now) for other in neighbours)


def lock_exclusive(work: Work, template: TemplateMixin) -> None:
    """Let all others that want a template's resource, if its bookings take one, wait likewise."""
    name = _claim_of(template)
    if name is not None:
        lock_resource(work.session, work.models, name)


def lock_resource(session: Session, models: Models, name: str) -> None:
    """Let all others that want a resource wait until the end of this transaction."""
    table = table_of(models.Resource)
    if session.scalar(select(table.c.id).where(table.c.name == name)) is None:
        session.execute(insert_or_lock(table, dialect_of(session)), [{"name": name, "version": 0}])
    session.execute(update(table).where(table.c.name == name).values(version=table.c.version + 1))


def look_around(work: Work, slot: SlotMixin, leaving: BookingMixin | None = None) -> None:
    """Tell a slot of a locked resource what takes that resource while it lasts.

    :param leaving: a booking that gives up its places in the same transaction: it is in nobody's way.
    """
    template = slot.template
    if template.claim is None:
        return
    span = (slot.starts_at, slot.ends_at)
    # MariaDB reads from the transaction's snapshot unless it locks; the others see what is committed by now.
    lock = dialect_of(work.session) in MARIADB
    busy = load_busy(work.session, work.models, [template.claim], *span, lock=lock)
    if leaving is None:
        slot.rolling_busy = Seen(work.session, busy)
        return
    held = leaving.status == BookingStatus.HELD
    slot.rolling_busy = [
        other._replace(
            booked=other.booked - leaving.party,
            holds=[hold for hold in other.holds or () if not (held and hold[0] == leaving.id)],
        )
        if other.slot_id == leaving.slot_id
        else other
        for other in busy
    ]


def is_taken(slot: SlotMixin, now: datetime) -> bool:
    """Whether another slot was found to have the exclusive resource, after ``look_around``."""
    return slot.template.exclusive and is_excluded(slot, slot.rolling_busy or (), now)


def left_in_pool(slot: SlotMixin, now: datetime) -> int | None:
    """Return how many places the pool has for a slot at each of its moments; ``None``: it has no pool.

    After ``look_around``.
    """
    claim: Claim | None = slot.template.claim
    if claim is None or claim.pool is None:
        return None
    return max(0, claim.pool - taken_of_pool(slot, slot.rolling_busy or (), now))


def is_overtaken(slot: SlotMixin, now: datetime) -> bool:
    """Whether a slot was found, after ``look_around``, without the resource that places in it were taken on."""
    claim: Claim | None = slot.template.claim
    if claim is None or claim.pool is None:
        return is_taken(slot, now)
    # What is there was taken by what was free then; it is not asked again whether it would be free now.
    return taken_of_pool(slot, slot.rolling_busy or (), now, passed_on=True) > claim.pool


def find_clashes(
    session: Session, models: Models, now: datetime, stays: Sequence[Stay], lock: bool = True
) -> set[int]:
    """Return the ids of the slots that their resources cannot take, beside other bookings and each other.

    Of two that overlap with each other the later one is named.

    :param lock: the resources are locked, and what others committed by now counts; else this is only a look.
    """
    if not stays:
        return set()
    claims, ids = {stay.claim for stay in stays}, {stay.slot_id for stay in stays}
    start, end = min(stay.starts_at for stay in stays), max(stay.ends_at for stay in stays)
    lock = lock and dialect_of(session) in MARIADB
    found = (busy.stay(now) for busy in load_busy(session, models, claims, start, end, lock=lock))
    others = [stay for stay in found if stay.slot_id not in ids and stay.places > 0]
    clashes: set[int] = set()
    for claim in claims:
        taken = [other for other in others if other.claim.meets(claim)]
        clashes |= _too_many(taken, [stay for stay in stays if stay.claim.meets(claim)])
    return clashes


def _too_many(taken: Iterable[Stay], wanted: Iterable[Stay]) -> set[int]:
    """Return which stays on one resource cannot be; those that are taken are in any case."""
    coming, near, lost = deque(sorted(taken, key=_by_begin)), list[Stay](), set[int]()
    for stay in sorted(wanted, key=_by_begin):
        near = [other for other in near if other.ends > stay.begins]
        while coming and coming[0].begins < stay.ends:
            near.append(coming.popleft())
        pool = stay.claim.pool
        if pool is None:
            is_lost = any(have_in_common(stay, other) for other in near)
        else:
            is_lost = most_taken(stay, near, passed_on=True) > pool
        if is_lost:
            lost.add(stay.slot_id)
        else:
            near.append(stay)
    return lost


def _by_begin(stay: Stay) -> tuple[datetime, datetime, int]:
    return stay.begins, stay.ends, stay.slot_id


# -- while the ORM flushes: before the rows are written others are kept away; after all of a flush are written, what is
# -- booked is compared with what is booked elsewhere


def begin_claim(session: Session, models: Models, template: TemplateMixin, now: datetime) -> None:
    """Before a template is written: if it claims a resource that it had not, nobody books meanwhile."""
    if _claims(template):
        lock_resource(session, models, template.resource or "")
        hold_writers(session, table_of(models.Slot))
        _booked(session, models, now, models.Slot.template_id == template.id)


def check_claim(session: Session, models: Models, template: TemplateMixin, now: datetime) -> None:
    """After it was written: refuse it if its bookings overlap with others on the resource.

    :raises InvalidTemplate: names the slots in ``keys``.
    """
    claim = template.claim
    if claim is None or not _claims(template):
        return
    clashes = _clashes(session, models, now, claim, models.Slot.template_id == template.id)
    if clashes:
        expected = f"that no other booking has {claim.resource!r} at the same time"
        if claim.pool is not None:
            expected = f"at most {claim.pool} places taken on {claim.resource!r} at any moment"
        field = "exclusive" if claim.pool is None else "pool"
        changed = [name for name in CLAIMED if _changes(template, name)]
        if not {*changed} - {*_WIDENING}:
            field = changed[0]
        value = getattr(template, field)
        text = f"{field} = {value}: slot {clashes[0]} is booked: expected {expected}; release or move one of both"
        raise InvalidTemplate(text, field=field, value=value, expected=expected, keys=clashes)


def begin_sharing(session: Session, models: Models, template: TemplateMixin) -> None:
    """Before a template is added: nobody else adds or changes one that takes places on its resource."""
    claim = template.claim
    # A later part of a series has its resource locked already.
    if claim is not None and template.continues_id is None:
        lock_resource(session, models, claim.resource)


def check_sharing(session: Session, models: Models, template: TemplateMixin, now: datetime) -> None:
    """After a template was written: refuse it if others that share its resource take that in another way.

    :raises InvalidTemplate: names the field, its value, and the other template, ``template_id``.
    """
    claim, cls = template.claim, models.Template
    if claim is None or not (_changes(template, *CLAIMED) or _comes_back(template)):
        return
    # A part of a series that goes on as the one before it: nothing new, and its resource may not be locked.
    before = session.get(cls, template.continues_id) if template.continues_id is not None else None
    if before is not None and before.claim == claim and not inspect(template).persistent:
        return
    columns = (cls.id, cls.name, cls.exclusive, cls.active_until, cls.cancelled_from, cls.shift, cls.duration)
    others = (has_claim(cls), cls.resource == claim.resource, cls.id != template.id)
    query: Any = select(*columns, *claim_columns(cls)).where(*others).order_by(cls.id)
    is_old = dialect_of(session) in MARIADB  # what it sees of others: see ``look_around``
    for row in session.execute(query.with_for_update(read=True) if is_old else query):
        theirs = Claim._make(row[-len(Claim._fields) :])
        if theirs.pool == claim.pool or not theirs.meets(claim) or _is_over(row, now):
            continue
        field = "exclusive" if claim.pool is None else "pool"
        held = "exclusive=True" if theirs.pool is None else f"pool={theirs.pool}"
        expected = (
            f"{held}, as template {row.id} ({row.name!r}) has it, which shares the resource {claim.resource!r}: "
            "change both at once"
        )
        raise refusal(field, getattr(template, field), expected, InvalidTemplate, template_id=row.id)


def _comes_back(template: TemplateMixin) -> bool:
    """Whether it lasts longer than before."""
    attributes = inspect(template).attrs
    ends = ((name, attributes[name].history.deleted) for name in ("active_until", "cancelled_from"))
    found = ((getattr(template, name), old[0]) for name, old in ends if old and old[0] is not None)
    return any(new is None or new > old for new, old in found)


def _is_over(template: Any, now: datetime) -> bool:
    """Whether no slot of a template lasts into the time from now on, whatever its zone."""
    ends = [end for end in (template.active_until, template.cancelled_from) if end is not None]
    begun = now.astimezone(UTC).replace(tzinfo=None) - template.shift - template.duration - _A_ZONE
    return bool(ends) and min(ends) < begun


def begin_stay(session: Session, models: Models, slot: SlotMixin) -> None:
    """Before a slot is written that gets another time or comes back: its exclusive resource is locked.

    And its template, for others of the series are booked only while no slot of it stands at their time.
    """
    claim = _claimed_by(session, models, slot)
    if claim is not None:
        lock_resource(session, models, claim.resource)
    if _changes(slot, "starts_at", "ends_at", "status"):
        template = models.Template.id
        session.execute(exclusive(select(template).where(template == slot.template_id), dialect_of(session)))


def check_stay(session: Session, models: Models, slot: SlotMixin, now: datetime) -> None:
    """After it was written: refuse it if it is booked and overlaps other bookings, on the resource or of its series.

    :raises SlotClosed: with the state ``blocked``.
    """
    if _is_on_another(session, models, slot, now):
        text = f"slot {slot.key} is booked, and another slot of its series is booked at that time"
        raise SlotClosed(text, key=slot.key, state=State.BLOCKED.value)
    claim = _claimed_by(session, models, slot)
    if claim is not None and _clashes(session, models, now, claim, models.Slot.id == slot.id):
        text = f"slot {slot.key} is booked, and {claim.resource!r} is taken by another booking at that time"
        raise SlotClosed(text, key=slot.key, state=State.BLOCKED.value)


def _is_on_another(session: Session, models: Models, slot: SlotMixin, now: datetime) -> bool:
    """Whether a booked slot that got another time, or came back, overlaps with another booked one of its series."""
    before = inspect(slot).attrs.status.history.deleted
    came_back = bool(before) and before[0] not in OCCUPYING
    if slot.status not in OCCUPYING or not (came_back or _changes(slot, "starts_at", "ends_at")):
        return False
    if slot.template.may_overlap or not live_places(slot.booked, slot.holds, now):
        return False
    others = load_neighbours(session, models, slot, lock=dialect_of(session) in MARIADB)
    return any(other.id != slot.id and live_places(other.booked, other.holds, now) > 0 for other in others)


def _changes(row: TemplateMixin | SlotMixin, *names: str) -> bool:
    state = inspect(row)
    return any(state.attrs[name].history.has_changes() for name in names)


def _claims(template: TemplateMixin) -> bool:
    return _changes(template, *CLAIMED) and template.claim is not None


def _claimed_by(session: Session, models: Models, slot: SlotMixin) -> Claim | None:
    """Return the exclusive resource of a slot that is to stand at another time, or again."""
    if not _changes(slot, "starts_at", "ends_at", "status") or slot.status not in OCCUPYING:
        return None
    cls = models.Template
    query = select(*claim_columns(cls)).where(cls.id == slot.template_id, has_claim(cls))
    row = session.execute(query).one_or_none()
    return None if row is None else Claim._make(row)


def _booked(session: Session, models: Models, now: datetime, condition: Any) -> list[Any]:
    cls = models.Slot
    columns = (cls.id, cls.series_id, cls.original_start, cls.starts_at, cls.ends_at, cls.booked, cls.holds)
    query: Any = select(*columns).where(condition, cls.status.in_(OCCUPYING), cls.ends_at > now)
    rows = session.execute(newest(query.order_by(cls.starts_at), dialect_of(session)))
    return [row for row in rows if live_places(row.booked, row.holds, now) > 0]


def _clashes(session: Session, models: Models, now: datetime, claim: Claim, condition: Any) -> list[str]:
    booked = _booked(session, models, now, condition)
    stays = [
        Stay(
            claim, row.id, row.series_id, row.starts_at, row.ends_at, live_places(row.booked, row.holds, now)
        )
        for row in booked
    ]
    clashes = find_clashes(session, models, now, stays)
    return [str(SlotKey(row.series_id, row.original_start)) for row in booked if row.id in clashes]
