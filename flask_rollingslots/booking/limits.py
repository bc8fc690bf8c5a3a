"""What one person may have: how long a hold, how many holds, and how many places in a slot, on a day, in a week.

What a program holds is the app's own business. Two requests of one person wait for each other, so that both count what
the other one took: on SQLite by the write lock, elsewhere by a row of the table of resources. There are a few thousand
such rows, which persons share by chance: a row for each would stay when the person is forgotten.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any
from weakref import WeakKeyDictionary
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, and_, bindparam, func, or_, select, true, update
from sqlalchemy.orm import Session, SessionTransaction

from ..context import Work
from ..errors import LimitReached, LostRace, TooManyHolds, refusal
from ..models import Models, SlotMixin, TemplateMixin, table_of
from ..planning import grid_day
from ..recurrence.zones import instant_of
from ..settings import PREFIX
from ..statements import MARIADB, insert_or_lock, newest, only_if, take_write_lock
from ..values import OCCUPYING, BookingStatus, SlotKey, Status, TemplateSpec, local_midnight

#: Before the name of a row that is locked: no resource of an app begins so.
_HOLDS, _PLACES = "\x01holds:", "\x01places:"
#: The fields of a template that say how much one person may book: at once, and in all.
LIMITS = ("max_party", "max_per_person", "max_per_person_day", "max_per_person_week")
_SLOT, _DAY, _WEEK = LIMITS[1:]
#: The widest first: what is refused for the week is possible later than what is refused for the day.
_WITHIN = {
    _WEEK: "a week (Monday to Sunday) of the series",
    _DAY: "a day of the series",
    _SLOT: "the slot",
}
#: So many digits of a person's hash name the row.
_DIGITS = 3
#: Where a session keeps which persons it locked in its transaction, and whether what it sees of them may be older.
_LOCKED = "rollingslots_persons"
_ONE_DAY = timedelta(days=1)
#: Of so many series a process remembers that their persons have limits.
_MOST_KNOWN = 10_000


def check_length(work: Work, minutes: float) -> None:
    """Refuse a hold that is longer than a person may have.

    :raises InvalidRequest: names ``minutes``, the value and the setting.
    """
    most = work.settings.hold_minutes_max
    if minutes > most:
        raise refusal("minutes", minutes, f"at most {most:,} for a person ({PREFIX}HOLD_MINUTES_MAX)")


def lock_holds(work: Work, who: str) -> bool:
    """Let others who hold places in a person's name wait until the end of this transaction: before any other lock.

    :return: whether others did since this transaction began to read: what it sees may be older.
    """
    return _lock_person(work, _name(_HOLDS, who))


def _name(kind: str, text: str) -> str:
    return kind + hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def _lock_person(work: Work, name: str) -> bool:
    """Lock the row of a person, unless this transaction has it; return whether others had it since it began to read."""
    session = work.session
    if work.dialect == "sqlite":  # a transaction that sees something older is refused when it writes
        session.flush()
        take_write_lock(session, table_of(work.models.Slot))
        return False
    locked, around = _locked(session), list(_around(session))
    taken, was_old = locked.get(name, (None, False))
    if taken not in around:  # with a savepoint that is rolled back its locks are gone
        was_old = _write_row(work, name) or was_old
        locked[name] = (around[0], was_old)
    return was_old


def _locked(session: Session) -> dict[str, tuple[SessionTransaction | None, bool]]:
    """Return whom the session's transaction locked: within which savepoint, and whether what it sees may be older."""
    root, locked = session.info.get(_LOCKED, (None, None))
    found: dict[str, tuple[SessionTransaction | None, bool]] = {} if locked is None else locked
    if locked is None or root is not session.get_transaction():
        found = {}
        session.info[_LOCKED] = (session.get_transaction(), found)
    return found


def _around(session: Session) -> Iterator[SessionTransaction]:
    """Yield the session's transactions, the innermost savepoint first."""
    transaction = session.get_nested_transaction() or session.get_transaction()
    while transaction is not None:
        yield transaction
        transaction = transaction.parent


def _write_row(work: Work, name: str) -> bool:
    """Count one more in a row of persons, made if need be; return whether others did since this transaction read.

    MariaDB says the new number with the UPDATE itself, and sees the old one as it was when it began to read.
    """
    session, table, reads_old = work.session, table_of(work.models.Resource), work.dialect in MARIADB
    seen = session.scalar(work.models.build_once("person seen", _seen), {"row": name}) if reads_old else None
    write = work.models.build_once(("person locked", reads_old), lambda models: _counted(models, reads_old))
    found: Any = None
    if seen is not None or not reads_old:  # there, an UPDATE of no row would keep others from making it
        found = session.execute(write, {"row": name})
    if found is None or not found.rowcount:
        session.execute(insert_or_lock(table, work.dialect), [{"name": name, "version": 0}])
        found = session.execute(write, {"row": name})
    return reads_old and found.lastrowid != (seen or 0) + 1


def _seen(models: Models) -> Any:
    table = table_of(models.Resource).c
    return select(table.version).where(table.name == bindparam("row"))


def _counted(models: Models, tells: bool) -> Any:
    table = table_of(models.Resource)
    number = table.c.version + 1
    values = {"version": func.last_insert_id(number) if tells else number}
    return update(table).where(table.c.name == bindparam("row")).values(values)


def check_number(work: Work, who: str, is_old: bool) -> None:
    """Refuse one more hold of a person who has as many as one may; ``lock_holds`` was called before.

    :param is_old: what that returned. MariaDB then reads with locks, which are in the way of others beside this person.
    :raises TooManyHolds: if so many holds in this name have not expired.
    """
    cls, limit = work.models.Booking, work.settings.holds_per_person
    query: Any = select(func.count()).select_from(table_of(cls))
    # What was offered to who waited is nothing that one helped oneself to.
    query = query.where(
        cls.who == who,
        cls.status == BookingStatus.HELD.value,
        cls.expires_at > work.now,
        cls.is_offer.is_not(true()),
    )
    held = work.session.scalar(newest(query, work.dialect) if is_old else query) or 0
    if held >= limit and not is_old:  # some may just have been confirmed or released
        held = work.session.scalar(newest(query, work.dialect)) or 0
    if held >= limit:
        text = (
            f"{held} places or parties are held by this person already: expected at most {limit} at once "
            f"({PREFIX}HOLDS_PER_PERSON): confirm or release one first"
        )
        raise TooManyHolds(text, held=held, limit=limit)


# -- places of a person in a slot, on a grid day, in a week: live bookings, and what is waited for


def is_limited(template: TemplateMixin) -> bool:
    """Whether one person may have only so many places in a slot, on a day, or in a week."""
    return any(getattr(template, name) is not None for name in _WITHIN)


def lock_places(work: Work, template: TemplateMixin, who: str | None) -> None:
    """Let others who take places for a person in a series wait, if the template has limits: before any other lock."""
    if who is not None and is_limited(template):
        _lock_person(work, _row_of(template.series_id or template.id, who))


def _row_of(series_id: int, who: str) -> str:
    return _name(_PLACES, f"{series_id}:{who}")


def check_places(
    work: Work,
    slot: SlotMixin,
    party: int,
    who: str | None,
    leaving: int | None = None,
) -> None:
    """Refuse places in a slot whose template is locked, if they are more than it gives one person.

    :param leaving: id of the booking that moves, or that these places are of: it is not counted.
    :raises InvalidRequest: names ``party``, if that is too large, or ``who``, if nobody is named.
    :raises LimitReached: says which limit, and when more is possible.
    :raises LostRace: if there are limits only since the person could have been locked.
    """
    template = slot.template
    if template.max_party is not None and party > template.max_party:
        raise refusal("party", party, f"at most {template.max_party:,} at once ({LIMITS[0]})")
    _remember(work, template)
    if not is_limited(template):
        return
    if who is None:
        names = " and ".join(name for name in _WITHIN if getattr(template, name) is not None)
        raise refusal(
            "who", None, f"a text that says who it is for: there is a limit for each person ({names})"
        )
    is_old = _is_old(work, _row_of(slot.series_id, who))
    taken = _taken(work, slot, who, leaving, newest_ones=is_old)
    reached = _reached(template, taken, party)
    if reached is not None and work.dialect in MARIADB and not is_old:  # some may just have been given back
        taken = _taken(work, slot, who, leaving, newest_ones=True)
        reached = _reached(template, taken, party)
    if reached is not None:
        raise _limit_reached(slot, reached, taken[reached], party)


def _is_old(work: Work, name: str) -> bool:
    """Whether what is seen of a person who was locked may be older; if that was not, this is a race that was lost."""
    if work.dialect == "sqlite":
        return False
    taken, is_old = _locked(work.session).get(name, (None, False))
    if taken not in list(_around(work.session)):
        raise LostRace
    return is_old


def _reached(template: TemplateMixin, taken: dict[str, int], party: int) -> str | None:
    """Return which limit so many places more would exceed."""
    for name in _WITHIN:
        most = getattr(template, name)
        if most is not None and taken[name] + party > most:
            return name
    return None


def _taken(work: Work, slot: SlotMixin, who: str, leaving: int | None, newest_ones: bool) -> dict[str, int]:
    """Return how many places a person has beside a slot's own, by the limit that counts them."""
    cls, bookings, template = work.models.Slot, table_of(work.models.Booking).c, slot.template
    specs = {template.id: TemplateSpec.of(template, copied=False)}
    day = grid_day(specs[template.id], slot.original_start, slot.starts_at)
    columns = (cls.id, cls.template_id, cls.original_start, cls.starts_at, bookings.party)
    query: Any = select(*columns).join(table_of(work.models.Booking), bookings.slot_id == cls.id)
    query = query.where(bookings.who == who, _counts(bookings, cls, work.now))
    if leaving is not None:
        query = query.where(bookings.id != leaving)
    if template.max_per_person_day is None and template.max_per_person_week is None:
        query = query.where(cls.id == slot.id)
    else:
        # A day more on both sides: a segment may have another zone, and a grid day ends in the next one.
        first, end = _week_of(day)[0] - 2 * _ONE_DAY, _week_of(day)[1] + 2 * _ONE_DAY
        zone = ZoneInfo(template.timezone)
        within = (cls.starts_at >= local_midnight(first, zone), cls.starts_at < local_midnight(end, zone))
        query = query.where(only_if(cls.series_id == slot.series_id, cls.status.in_(OCCUPYING), *within))
    taken = dict.fromkeys(_WITHIN, 0)
    for row in work.session.execute(newest(query, work.dialect) if newest_ones else query).all():
        if row.template_id not in specs:
            segment = work.session.get(work.models.Template, row.template_id)
            if segment is None:  # made since this transaction began to read
                raise LostRace
            specs[row.template_id] = TemplateSpec.of(segment, copied=False)
        its_day = grid_day(specs[row.template_id], row.original_start, row.starts_at)
        taken[_SLOT] += row.party * (row.id == slot.id)
        taken[_DAY] += row.party * (its_day == day)
        taken[_WEEK] += row.party * (_week_of(its_day) == _week_of(day))
    return taken


def _week_of(day: date) -> tuple[date, date]:
    """Return the Monday of a day's week, and the next one."""
    monday = day - day.weekday() * _ONE_DAY
    return monday, monday + 7 * _ONE_DAY


def _counts(booking: Any, slot: Any, now: Any) -> ColumnElement[bool]:
    """Return, in SQL, whether a booking counts for its person: it is live, or waits.

    :param slot: the columns of its slot.
    """
    held = and_(booking.status == BookingStatus.HELD.value, booking.expires_at > now)
    waits = and_(
        booking.status == BookingStatus.WAITING.value,
        slot.status == Status.SCHEDULED.value,
        slot.starts_at > now,
    )
    return or_(booking.status == BookingStatus.CONFIRMED.value, held, waits)


def _limit_reached(slot: SlotMixin, name: str, taken: int, party: int) -> LimitReached:
    template = slot.template
    most, zone = getattr(template, name), ZoneInfo(template.timezone)
    day = grid_day(TemplateSpec.of(template, copied=False), slot.original_start, slot.starts_at)
    following = {_WEEK: _week_of(day)[1], _DAY: day + _ONE_DAY, _SLOT: None}[name]
    next_at = local_midnight(following, zone) if following is not None and party <= most else None
    text = (
        f"slot {slot.key}: one person has at most {most:,} places in {_WITHIN[name]} ({name}): "
        f"{taken:,} are taken, {party:,} asked for"
    )
    if next_at is not None:
        text += f"; again from {following:%Y-%m-%d} on"
    details = {"limit": name, "most": most, "taken": taken, "party": party, "key": slot.key}
    return LimitReached(text, **details, next_at=next_at)


# -- the same within the one statement of an ordinary booking. Which days make up the day and the week of a slot is
# -- worked out here, by what this process knows of the series; the statement asks the template whether that is so,
# -- and what the limits are. So what is known here may be old: then the statement changes nothing

#: Engine -> series -> the segment of it that was booked last.
_known: WeakKeyDictionary[Any, dict[int, TemplateSpec]] = WeakKeyDictionary()


def _remember(work: Work, template: TemplateMixin) -> None:
    """Keep in mind whether a series has limits for each person, and what its days are."""
    series, engine = template.series_id or template.id, work.session.connection().engine
    if not is_limited(template):
        _known.get(engine, {}).pop(series, None)
        return
    known = _known.setdefault(engine, {})
    if len(known) >= _MOST_KNOWN:
        known.clear()
    known[series] = TemplateSpec.of(template)


def known_limits(work: Work, key: SlotKey) -> dict[str, Any] | None:
    """Return the parameters of the statement that counts what a person has; ``None``: no limits are known of."""
    known = _known.get(work.session.connection().engine) if _known else None
    spec = known.get(key.series_id) if known else None
    if spec is None:
        return None
    zone = ZoneInfo(spec.timezone)
    try:
        day, starts_at = grid_day(spec, key.original_start), instant_of(key.original_start + spec.shift, zone)
        monday, end = _week_of(day)
        # Of a grid that goes on after midnight more may be counted than is meant: the long way then looks closer.
        more = _ONE_DAY * _passes_midnight(spec)
        days = {"day": (day, day + _ONE_DAY + more), "week": (monday, end + more)}
        spans = {name: [local_midnight(each, zone) for each in span] for name, span in days.items()}
    except OverflowError:
        return None
    shape = {f"its_{name}": getattr(spec, name) for name in _SHAPE}
    bounds = {
        f"{name}_{edge}": at for name, span in spans.items() for edge, at in zip(_EDGES, span, strict=True)
    }
    return {"its_start": starts_at, **shape, **bounds}


_EDGES = ("begins", "ends")
#: What a grid day follows from.
_SHAPE = ("timezone", "dtstart", "until_time", "shift")


def _passes_midnight(spec: TemplateSpec) -> bool:
    if spec.until_time is None:
        return False
    first = spec.dtstart + spec.shift
    length = (datetime.combine(spec.dtstart.date(), spec.until_time) - spec.dtstart) % _ONE_DAY or _ONE_DAY
    return (first + length - timedelta(microseconds=1)).date() != first.date()


def lock_known(work: Work, key: SlotKey, who: str) -> bool:
    """Lock a person whose series is known to have limits; return whether what is seen of them may be older."""
    # SQLite's one writer is whoever runs that statement.
    return work.dialect != "sqlite" and _lock_person(work, _row_of(key.series_id, who))


def as_known(models: Models, slot: Any, template: Any) -> list[ColumnElement[bool]]:
    """Return, in SQL, that a slot and the templates of its series are as ``known_limits`` had them.

    :param slot: its columns. ``template``: those of its template.
    """
    others = table_of(models.Template).alias()

    def alike(each: Any) -> list[ColumnElement[bool]]:
        return [
            each[name].is_not_distinct_from(bindparam(f"its_{name}", type_=each[name].type))
            for name in _SHAPE
        ]

    zone, *grid = alike(others.c)
    is_alike = and_(zone, or_(others.c.until_time.is_(None), and_(*grid)))
    differs = select(others.c.id).where(others.c.series_id == slot.series_id, ~is_alike)
    start = slot.starts_at == bindparam("its_start", type_=slot.starts_at.type)
    return [start, *alike(template), ~differs.correlate_except(others).exists()]


def sums(models: Models, slot: Any) -> dict[str, ColumnElement[int]]:
    """Return, in SQL, how many places a person has, by the limit that counts them; parameters: of ``known_limits``.

    :param slot: the columns of the slot that is asked for.
    """
    found: dict[str, ColumnElement[int]] = {}
    for name, span in ((_WEEK, "week"), (_DAY, "day"), (_SLOT, None)):
        booking, other = table_of(models.Booking).alias(), table_of(models.Slot).alias()
        now, who = bindparam("now", type_=other.c.starts_at.type), bindparam("who", type_=booking.c.who.type)
        query: Any = select(func.coalesce(func.sum(booking.c.party), 0))
        query = query.where(booking.c.who == who, _counts(booking.c, slot if span is None else other.c, now))
        if span is None:
            query = query.where(booking.c.slot_id == slot.id)
        else:
            begins, ends = (bindparam(f"{span}_{edge}", type_=other.c.starts_at.type) for edge in _EDGES)
            mine = (other.c.series_id == bindparam("series"), other.c.status.in_(OCCUPYING))
            query = query.join_from(booking, other, other.c.id == booking.c.slot_id)
            # All slots of the week are more than all bookings of a person: from these to their slots is the way.
            within = only_if(*mine, other.c.starts_at >= begins, other.c.starts_at < ends)
            query = query.where(within)
        found[name] = query.correlate_except(booking, other).scalar_subquery()
    return found


def within(template: Any, taken: Any) -> list[ColumnElement[bool]]:
    """Return, in SQL, that a template has limits for each person, and none of them is exceeded.

    :param taken: how many places a person has, by the limit that counts them.
    """
    party: Any = bindparam("party")
    kept = [or_(template[name].is_(None), taken[name] + party <= template[name]) for name in _WITHIN]
    return [or_(*(template[name].is_not(None) for name in _WITHIN)), *kept]


def unlimited(template: Any) -> list[ColumnElement[bool]]:
    """Return, in SQL, that a template has no limits for each person."""
    return [template[name].is_(None) for name in _WITHIN]


def may_be_one_party(template: Any) -> ColumnElement[bool]:
    """Return, in SQL, that a template lets one booking have so many places."""
    most = template[LIMITS[0]]
    return or_(most.is_(None), most >= bindparam("party"))
