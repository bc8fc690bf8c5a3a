"""What everything below the facade is handed, and what all of it reads.

:class:`Work` holds session, models, settings and time; it is made here and nowhere else. Below it: templates and slots
as plain values, and planned slots as rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from .errors import refusal
from .models import Models, Shared, SlotMixin, TemplateFacts, TemplateMixin
from .models.fields import SPEC_FIELDS, SPEC_LISTS
from .settings import PREFIX, Settings
from .signals import Outbox
from .statements import (
    MARIADB,
    dialect_of,
    exclusive,
    follow_savepoint,
    refuse_autocommit,
    stored_text,
    use_primary,
)
from .values import PlannedSlot, SlotKey, Status, Steps, StoredSlot, TemplateSpec, Window, live_places

Unreadable = Callable[[int, str, Exception], None]

_SLOT_COLUMNS = StoredSlot._fields[: StoredSlot._fields.index("data")]
_BOOKED = _SLOT_COLUMNS.index("booked")
#: Nothing customised, as a database holds it.
_NO_NAMES = (None, "[]", "null")
_ID, _SERIES_ID = SPEC_FIELDS.index("id"), SPEC_FIELDS.index("series_id")
# A zone is at most 14 hours from UTC, and a gap at most a day wide.
_ZONE_SLACK = timedelta(days=2)
#: What a virtual slot has not got: else SQLAlchemy would look for a default each time that somebody asks.
_NOT_STORED = dict.fromkeys(("id", "holds", "hold_until", "ended_with_series", "changed_at"))
#: Beyond so many templates their ids are not listed in a query: databases bound the number of parameters.
_MANY_TEMPLATES = 500


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """One piece of work for one app, at one moment. Use :meth:`reading` or :meth:`writing` to make one.

    Whoever opened the session commits it. Functions that take a work open no session, read no clock and know no app.

    :param now: aware.
    :param dry_run: what is decided is worked out and returned, and nothing is written.
    :param outbox: gathers what is to be told once the work is done.
    :param steps: counts what is worked out for somebody who only looks; ``None``: that is not bounded.
    """

    session: Session
    models: Models
    settings: Settings
    now: datetime
    dry_run: bool = False
    outbox: Outbox = field(default_factory=Outbox)
    steps: Steps | None = None

    @classmethod
    def reading(
        cls, session: Session, models: Models, settings: Settings, now: datetime, most: int | None = None
    ) -> Work:
        """Return a work that only shows: an app that reads from replicas may serve it from one.

        :param most: so many starts of slots are looked at, if the app's settings do not allow fewer.
        """
        steps = Steps(settings.expansion_steps_max, f"{PREFIX}EXPANSION_STEPS_MAX")
        if most is not None and most < steps.most:
            steps = Steps(most)
        return cls(session, models, settings, now, steps=steps)

    @classmethod
    def writing(
        cls,
        session: Session,
        models: Models,
        settings: Settings,
        now: datetime,
        dry_run: bool = False,
        outbox: Outbox | None = None,
    ) -> Work:
        """Return a work that decides by what it reads: the session stays on the engine of its writes from now on.

        :param outbox: knows who acts, and whom to tell.
        :raises ConfigError: if that engine commits each statement by itself.
        """
        use_primary(session, models.classes)
        refuse_autocommit(session.connection())
        follow_savepoint(session, models.classes)
        return cls(session, models, settings, now, dry_run, Outbox() if outbox is None else outbox)

    @property
    def dialect(self) -> str:
        """The name of the database: ``sqlite``, ``postgresql``, ``mysql`` or ``mariadb``."""
        return dialect_of(self.session)


def load_specs(
    work: Work,
    *conditions: sa.ColumnElement[bool],
    unreadable: Unreadable | None = None,
    newest: bool = False,
) -> list[TemplateSpec]:
    """Return the templates that meet the conditions, by id, without making model instances.

    :param newest: see what others committed since this transaction began; the templates are locked already.

    :param unreadable: told id, name and reason of each active template that cannot be read, which is then left out;
        without it one such template is an error.
    """
    cls = work.models.Template
    try:
        return _read_specs(work, *conditions, newest=newest)
    except DBAPIError:
        raise
    except Exception:  # a value that somebody wrote by hand: only reading it shows that
        if unreadable is None:
            raise
    found = work.session.execute(
        sa.select(cls.id, cls.name, cls.active).where(*conditions).order_by(cls.id)
    ).all()
    specs: list[TemplateSpec] = []
    for position in range(0, len(found), _MANY_TEMPLATES):
        specs += _readable(work, found[position : position + _MANY_TEMPLATES], unreadable)
    return specs


def _readable(work: Work, found: Sequence[Any], unreadable: Unreadable) -> list[TemplateSpec]:
    """Read halves, and halves of halves, until only those that cannot be read are left out."""
    try:
        return _read_specs(work, work.models.Template.id.in_([row.id for row in found]))
    except DBAPIError:
        raise
    except Exception as error:
        if len(found) == 1:
            if found[0].active:
                unreadable(found[0].id, found[0].name, error)
            return []
    half = len(found) // 2
    return [spec for part in (found[:half], found[half:]) for spec in _readable(work, part, unreadable)]


def _read_specs(work: Work, *conditions: sa.ColumnElement[bool], newest: bool = False) -> list[TemplateSpec]:
    cls = work.models.Template
    columns = {name: getattr(cls, name) for name in (*SPEC_FIELDS, *work.models.own.shared)}
    dialect = work.session.connection().dialect
    lists = {}
    for name in SPEC_LISTS:
        # Nearly always empty: read as they are stored, and understood only if there is something in them.
        lists[SPEC_FIELDS.index(name)] = columns[name].type
        columns[name] = stored_text(columns[name], dialect.name)
    query: Any = sa.select(*columns.values()).where(*conditions).order_by(cls.id)
    if newest and dialect.name in MARIADB:
        query = query.with_for_update(read=True)
    result = work.session.execute(query)
    try:
        return [_spec(row, lists, dialect, work.models.own.shared) for row in result]
    finally:
        result.close()  # also after an error: an open result would keep SQLite's snapshot


def _spec(row: Any, lists: Mapping[int, Any], dialect: sa.Dialect, own: Sequence[str]) -> TemplateSpec:
    values = list(row)
    for place, kind in lists.items():
        stored = values[place]
        is_empty = not stored or stored == "[]"
        values[place] = () if is_empty else tuple(kind.process_result_value(json.loads(stored), dialect))
    values[_SERIES_ID] = values[_SERIES_ID] or values[_ID]
    if own:
        known = len(SPEC_FIELDS)
        values[known:] = [dict(zip(own, values[known:], strict=True))]  # the last one of a spec
    return TemplateSpec(*values)


def fingerprint(work: Work) -> str:
    """Return a text that changes with every template that is added, changed or deleted."""
    cls = work.models.Template
    row = work.session.execute(
        sa.select(sa.func.count(), sa.func.sum(cls.revision), sa.func.max(cls.id))
    ).one()
    return ":".join(str(value or 0) for value in row)


def count_of(known: str) -> int:
    """Return the number of templates in a text that ``fingerprint`` began."""
    return int(known.partition(":")[0])


def newest_of(known: str | None) -> int:
    """Return the greatest id in a text that ``fingerprint`` began; 0: there is none."""
    parts = (known or "").split(":")
    return int(parts[2]) if len(parts) > 2 and parts[2].isdigit() else 0


def load_slots(
    work: Work, *conditions: sa.ColumnElement[bool], wholly: bool = False, lock: bool = False
) -> list[StoredSlot]:
    """Return the stored slots that meet the conditions, by series and original start.

    :param wholly: also read the app's own fields, and whether bookings point to a slot: what decisions need.
    :param lock: keep others from changing them until the app commits.
    """
    return _read_slots(work, *_queries_of(work.models, work.dialect, conditions, wholly, lock))


def load_series_slots(
    work: Work, series_id: int, after: datetime, at: datetime | None = None, *, lock: bool = False
) -> list[StoredSlot]:
    """Return the stored slots of a series that start after a moment, wholly, by original start.

    :param after: aware. ``at``: an original start (naive) whose slot is read wherever it is.
    :param lock: keep others from changing them until the app commits.
    """
    dialect, is_one_named = work.dialect, at is not None

    def build(models: Models) -> tuple[Any, Any]:
        cls = models.Slot
        place: sa.ColumnElement[bool] = cls.starts_at > sa.bindparam("after")
        if is_one_named:
            place = sa.or_(place, cls.original_start == sa.bindparam("at"))
        mine = cls.series_id == sa.bindparam("series")
        return _queries_of(models, dialect, (mine, place), wholly=True, lock=lock)

    query, pointed = work.models.build_once(("slots of a series", is_one_named, lock, dialect), build)
    values = {"series": series_id, "after": after} | ({"at": at} if is_one_named else {})
    return _read_slots(work, query, pointed, values)


def _queries_of(
    models: Models, dialect: str, conditions: Sequence[sa.ColumnElement[bool]], wholly: bool, lock: bool
) -> tuple[Any, Any]:
    """Return the query for stored slots, and the one for those of them to which bookings point, if that is asked."""
    cls, bookings = models.Slot, models.Booking
    columns = [getattr(cls, name) for name in _SLOT_COLUMNS]
    data = cls.data if wholly else sa.null()  # a top-up has no use for it, and it may be large
    own_name, own = (cls.own_name, models.own.slot) if wholly else (sa.null(), ())
    kept: Any = cls.customised
    customised = stored_text(kept, dialect)  # nearly always empty, as the lists of a template
    more = (customised, cls.ended_with_series, cls.holds, cls.withdrawn, cls.displaced, cls.changed_at)
    query: Any = sa.select(
        *columns, data, own_name, *more, cls.waits_for, *(getattr(cls, name) for name in own)
    )
    query = query.where(*conditions).order_by(cls.series_id, cls.original_start)
    pointed = sa.select(bookings.slot_id).join(cls, cls.id == bookings.slot_id).where(*conditions)
    return exclusive(query, dialect) if lock else query, pointed.distinct() if wholly else None


def _read_slots(
    work: Work, query: Any, pointed: Any, values: Mapping[str, Any] = MappingProxyType({})
) -> list[StoredSlot]:
    found = work.session.execute(query, values).all()
    history: frozenset[int] = frozenset()
    own = work.models.own.slot if pointed is not None else ()
    if pointed is not None and found:
        history = frozenset(work.session.scalars(pointed, values))
    slots, size = [], len(_SLOT_COLUMNS)
    for row in found:
        plain = row[:size]
        data, name, customised, ended, holds, withdrawn, displaced, changed_at, waits_for, *owned = row[size:]
        live = live_places(plain[_BOOKED], holds, work.now) if holds else plain[_BOOKED]
        is_pointed_to = plain[0] in history
        names = () if customised in _NO_NAMES else tuple(json.loads(customised))
        known = (data or {}, names, bool(ended), live, is_pointed_to)
        marks = (withdrawn or None, displaced or None, changed_at)
        slots.append((*plain, *known, *marks, name, dict(zip(own, owned, strict=True)), waits_for))
    return list(map(StoredSlot._make, slots))


def load_stored(work: Work, units: Sequence[tuple[TemplateSpec, Window]]) -> dict[SlotKey, StoredSlot]:
    """Return all rows that planning these templates in these windows needs, by key.

    A row belongs here by its original start or by where it was moved to.
    """
    cls = work.models.Slot
    start, end = min(w.start for _, w in units), max(w.end for _, w in units)
    shifts = [spec.shift or timedelta(0) for spec, _ in units]
    first = start.astimezone(UTC).replace(tzinfo=None) - _ZONE_SLACK - max(*shifts, timedelta(0))
    last = end.astimezone(UTC).replace(tzinfo=None) + _ZONE_SLACK - min(*shifts, timedelta(0))
    rows = load_slots(
        work,
        cls.series_id.in_({spec.series_id for spec, _ in units}),
        sa.or_(
            sa.and_(cls.original_start >= first, cls.original_start < last),
            sa.and_(cls.starts_at >= start, cls.starts_at < end),
        ),
    )
    return {row.key: row for row in rows}


def is_decided(models: Models) -> sa.ColumnElement[bool]:
    """Return, in SQL, whether somebody decided about a slot: not what a top-up made and nobody touched."""
    cls = models.Slot
    return sa.or_(cls.status != Status.SCHEDULED.value, sa.cast(cls.customised, sa.String) != "[]")


def row_of(slot: PlannedSlot, now: datetime, run_id: int | None = None) -> dict[str, Any]:
    """Return the column values of a planned slot's row.

    :param now: aware; becomes ``created_at``.
    :param run_id: the run that writes it; ``None`` when a person materialises it.
    """
    spec = slot.spec
    return {
        "series_id": spec.series_id,
        "template_id": spec.id,
        "original_start": slot.original_start,
        "starts_at": slot.starts_at,
        "ends_at": slot.ends_at,
        "opens_at": slot.opens_at,
        "closes_at": slot.closes_at,
        "status": Status.SCHEDULED.value,
        "capacity": spec.capacity,
        "booked": 0,
        "data": spec.data,
        "customised": [],
        "cancel_reason": None,
        "own_name": None,
        "withdrawn": None,
        "displaced": None,
        "run_id": run_id,
        "created_at": now,
        **spec.own,
    }


def virtual_slot(models: Models, slot: PlannedSlot, template: TemplateMixin, now: datetime) -> SlotMixin:
    """Return a slot without a row; it enters no session by itself."""
    values = row_of(slot, now)
    # What may be changed in place, by the user or by a column that follows it, is copied once it is asked for.
    shared = {"data": values.pop("data") or {}}
    for name, value in slot.spec.own.items():
        if isinstance(value, dict | list):
            shared[name] = values.pop(name)
    # Made as a loaded row is, without an event for each attribute: a seventh of the time that the constructor takes.
    virtual: SlotMixin = sa.inspect(models.Slot).class_manager.new_instance()
    virtual.__dict__.update(_NOT_STORED, **values, template=template)
    sa.inspect(virtual).callables = {name: Shared(name, value) for name, value in shared.items()}
    return virtual


def load_shown(
    work: Work,
    templates: Mapping[int, TemplateMixin],
    window: Window,
    originals: tuple[datetime, datetime],
    overlapping: bool = False,
) -> list[SlotMixin]:
    """Return the rows of some templates that start in a window or have an original start in a span.

    :param templates: by id, all that may have rows here.
    :param originals: first and last original start (naive), both included.
    :param overlapping: also rows that began before the window and are not over when it begins.
    """
    are_named, values = parameters_of_shown(templates, window, originals)
    statement = work.models.build_once(
        ("shown", are_named, overlapping),
        lambda models: select_shown(sa.select(models.Slot), models.Slot, are_named, overlapping),
    )
    found = [row for row in work.session.scalars(statement, values) if row.template_id in templates]
    for row in found:  # else one query for each template
        template, values = templates[row.template_id], row.__dict__
        if "template" not in values:
            values["template"] = template  # as a load would, without its other work
        elif values["template"] is not template:
            set_committed_value(row, "template", template)
    return found


def parameters_of_shown(
    templates: Mapping[int, Any], window: Window, originals: tuple[datetime, datetime]
) -> tuple[bool, dict[str, Any]]:
    """Return whether the query for the slots of a page names the templates, and its parameters."""
    first, last = originals
    longest = max((template.duration for template in templates.values()), default=timedelta(0))
    values: dict[str, Any] = {"start": window.start, "end": window.end, "first": first, "last": last}
    values["near"] = _after(window.end, longest + timedelta(days=1))
    are_named = len(templates) <= _MANY_TEMPLATES
    if are_named:
        values["templates"] = list(templates)
        values["series"] = list({template.series_id for template in templates.values()})
    return are_named, values


def _after(moment: datetime, span: timedelta) -> datetime:
    last = datetime.max.replace(tzinfo=UTC)
    return moment + span if last - moment > span else last


def select_shown(query: sa.Select[Any], slot: Any, are_named: bool, overlapping: bool) -> sa.Select[Any]:
    """Return a query for the slots of a page; see :func:`load_shown`.

    :param slot: the slot class, or its columns by attribute.
    """
    edge = slot.ends_at > sa.bindparam("start") if overlapping else slot.starts_at >= sa.bindparam("start")
    here: sa.ColumnElement[bool] = sa.and_(edge, slot.starts_at < sa.bindparam("end"))
    meant: sa.ColumnElement[bool] = slot.original_start.between(sa.bindparam("first"), sa.bindparam("last"))
    # Also what may stand in the way of slots at the edges.
    is_near = (slot.ends_at > sa.bindparam("start"), slot.starts_at < sa.bindparam("near"))
    near: sa.ColumnElement[bool] = sa.and_(slot.displaced == sa.true(), *is_near)
    if are_named:  # each part has an index of its own
        here = sa.and_(slot.template_id.in_(sa.bindparam("templates", expanding=True)), here)
        series = slot.series_id.in_(sa.bindparam("series", expanding=True))
        meant, near = sa.and_(series, meant), sa.and_(series, near)
    return query.where(sa.or_(here, meant, near))


def id_of(template: TemplateMixin | int) -> int:
    """Return a template's id, also if the object belongs to a session that is gone.

    :raises InvalidRequest: if it is neither a template nor an id.
    """
    if isinstance(template, TemplateFacts) and not isinstance(template, TemplateMixin):
        return template.id  # a value
    if isinstance(template, TemplateMixin):
        identity = sa.inspect(template).identity
        return int(identity[0]) if identity else template.id
    if isinstance(template, bool) or not isinstance(template, int) or not 0 < template < 2**63:
        raise refusal("template", template, "a template or its id, a whole number")
    return template


def id_or_none(template: TemplateMixin | int | None) -> int | None:
    """Return a template's id where none may be meant."""
    return None if template is None else id_of(template)


def pruned_until(work: Work) -> datetime | None:
    """Return the moment up to which slots were pruned, aware, UTC; ``None``: never."""
    latest = work.session.scalar(
        work.models.build_once("pruned until", lambda m: sa.select(sa.func.max(m.Lease.pruned_until_ms)))
    )
    return datetime.fromtimestamp(latest / 1000, UTC) if latest else None


def segments(work: Work, series_ids: Iterable[int]) -> list[TemplateMixin]:
    """Return all segments of some series, by id."""
    cls = work.models.Template
    query = sa.select(cls).where(cls.series_id.in_(list(series_ids))).order_by(cls.id)
    return list(work.session.scalars(query))
