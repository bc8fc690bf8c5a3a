"""Searching: templates, runs, and what is found by its id; and what arguments have to be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeVar
from unicodedata import combining, normalize

from sqlalchemy import Select, bindparam, or_, select

from .. import planning
from ..context import Work, segments
from ..errors import RollingSlotsError, TooCostly, no_booking, no_group, no_run, no_slot, no_template, refusal
from ..models import BookingMixin, Models, RunMixin, TemplateMixin
from ..values import SlotKey, Status, Steps, TemplateSpec, Window

Row = TypeVar("Row")

#: The longest page of a list.
_MOST = 1000
#: So many starts of a template are looked at to know whether its series is over.
_LOOKED_AT_EACH = 1000
#: Nothing is promised after it.
_FAR = datetime(9998, 1, 1, tzinfo=UTC)

#: How many runs of all templates are searched for those that touched one.
_RUNS_SEARCHED = 1000
_MAX_ID = 2**63
#: So many templates are read by their ids at once.
_AT_ONCE = 500
#: So many starts are looked at for the next few of one template, and to find templates that have one in a span.
LOOKED_AT = 20_000
#: So many templates are read at once, or named in a query.
PORTION = 500


# -- templates -------------------------------------------------------------------------------------------------


def templates(work: Work, template_id: int | None = None, group: str | None = None) -> list[TemplateMixin]:
    """Return the active templates of a series, of a group, or all.

    :raises TemplateNotFound: if there is no template with this id.
    """
    check_group(group)
    kind = ("templates", template_id is not None, group is not None)
    query = work.models.build_once(kind, lambda models: _query_for_templates(models, *kind[1:]))
    found = list(work.session.scalars(query, {"template_id": template_id, "group": group}))
    if template_id is not None and not found:
        find_template(work, template_id)
    return found


def _query_for_templates(models: Models, of_series: bool, of_group: bool) -> Select[Any]:
    return active_templates(select(models.Template), models.Template, of_series, of_group)


def active_templates(query: Select[Any], template: Any, of_series: bool, of_group: bool) -> Select[Any]:
    """Return a query for active templates, by id; it takes the parameters ``template_id`` and ``group``.

    :param template: the template class, or its columns by attribute.
    """
    query = query.where(template.active.is_(True)).order_by(template.id)
    if of_series:
        series = select(template.series_id).where(template.id == bindparam("template_id"))
        query = query.where(template.series_id.in_(series))
    if of_group:
        query = query.where(template.group == bindparam("group"))
    return query


def templates_in(work: Work, group: str) -> list[TemplateMixin]:
    """Return the templates of a group, active or not.

    :raises TemplateNotFound: if there is none: an unknown group means nothing, never everything.
    """
    found = list(search(work, group=group))
    if not found:
        raise no_group(group)
    return found


def search(
    work: Work,
    q: str | None = None,
    group: str | None = None,
    active: bool | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    after: int = 0,
    limit: int | None = None,
) -> list[TemplateMixin]:
    """Return the templates that fit, by id; a series that never ends is found in any future span.

    :param q: part of the name, of the group or of the text of the rule; case and accents do not matter.
    :param start: aware; with ``end``: only series that have a slot in this span, stored or promised. Before now only
        what is stored counts.
    :param after: only those with a greater id.
    :param limit: at most so many.
    :raises TooCostly: if too many starts would have to be looked at to know.
    """
    cls = work.models.Template
    query = select(cls).order_by(cls.id)
    if group is not None:
        query = query.where(cls.group == group)
    if active is not None:
        query = query.where(cls.active.is_(active))
    called = None if q is None else _called(work, query.where(cls.id > after), q)
    if start is None or end is None:
        if called is None:
            return list(work.session.scalars(query.where(cls.id > after).limit(limit)))
        ids = called[:limit]
        spans = [ids[first : first + _AT_ONCE] for first in range(0, len(ids), _AT_ONCE)]
        return [each for span in spans for each in work.session.scalars(query.where(cls.id.in_(span)))]
    window = Window(start.astimezone(UTC), end.astimezone(UTC))
    return list(islice(_with_slots(work, query, window, after, called), limit))


def _with_slots(
    work: Work, query: Select[Any], window: Window, after: int, called: Sequence[int] | None
) -> Iterator[TemplateMixin]:
    """Yield the templates of a query, by id, that have a stored or promised slot in a window; read in portions.

    :param called: only these; ``None``: all.
    """
    cls, slot, steps = work.models.Template, work.models.Slot, Steps(LOOKED_AT)
    here = (slot.starts_at >= window.start, slot.starts_at < window.end, slot.status != Status.DELETED.value)
    wanted = None if called is None else set(called)
    while some := list(work.session.scalars(query.where(cls.id > after).limit(PORTION))):
        after = some[-1].id
        some = [template for template in some if wanted is None or template.id in wanted]
        mine = slot.template_id.in_([template.id for template in some])
        stored = set(work.session.scalars(select(slot.template_id).where(mine, *here).distinct()))
        for template in some:
            steps.take()
            if template.id in stored or _promises(work, template, window, steps):
                yield template


def _called(work: Work, query: Select[Any], q: str, column: Any = None) -> list[int]:
    """Return the ids, or another column, of those templates of a query of which name, group or rule contain a text.

    Told here, for databases differ in what letters they take for one: SQLite knows the case of ASCII alone.
    """
    if not isinstance(q, str):
        raise refusal("q", q, "a text, or None")
    cls, wanted = work.models.Template, _folded(q)
    key = cls.id if column is None else column
    texts = work.session.execute(query.with_only_columns(key, cls.name, cls.group, cls.rrule))
    return [key for key, *parts in texts if any(wanted in _folded(part) for part in parts if part)]


def _folded(text: str) -> str:
    """Return a text without the case and the accents of its letters, each in one form."""
    apart = normalize("NFKD", normalize("NFKD", text).casefold())
    return normalize("NFC", "".join(sign for sign in apart if not combining(sign)))


def _promises(work: Work, template: TemplateMixin, window: Window, steps: Steps) -> bool:
    """Whether a template promises a slot in what is still to come of a window."""
    start = max(window.start, work.now)
    if start >= window.end:
        return False
    try:
        ahead = planning.promised_starts(
            TemplateSpec.of(template, copied=False), Window(start, window.end), steps
        )
        return any(reason is None for *_, reason in ahead)
    except TooCostly:
        raise
    except (ValueError, LookupError, OSError, ArithmeticError):  # a rule that is broken promises nothing
        return False


# -- series ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SeriesEntry:
    """One series in a list of them.

    :param name: of the segment that holds now, like ``group``; of a series that is over: of its last one.
    :param current: the segment that promises the next slot; ``None``: none does.
    :param last: its last segment.
    :param is_over: whether its rules promise nothing any more. Slots that are stored may still be to come.
    """

    series_id: int
    name: str
    group: str | None
    current: TemplateMixin | None
    last: TemplateMixin
    is_over: bool


def series(
    work: Work,
    q: str | None = None,
    group: str | None = None,
    active: bool | None = None,
    limit: int = 200,
    after: int = 0,
) -> list[SeriesEntry]:
    """Return one entry for each series that fits, by its id; the parameters are about the segment that holds now.

    :param q: part of the name, of the group or of the text of the rule; case and accents do not matter.
    :param after: only those with a greater id.
    :raises InvalidRequest: names argument, value and what is expected.
    """
    check_group(group)
    check_limit(limit)
    if isinstance(after, bool) or not isinstance(after, int) or not 0 <= after < _MAX_ID:
        raise refusal("after", after, "the id of a series, or 0")
    cls = work.models.Template
    query = select(cls).where(cls.series_id > after).order_by(cls.series_id)
    if group is not None:
        query = query.where(cls.group == group)
    if active is not None:
        query = query.where(cls.active.is_(active))
    numbers: Iterable[Any] = (
        work.session.scalars(query.with_only_columns(cls.series_id))
        if q is None
        else _called(work, query, q, cls.series_id)
    )
    ids = list(dict.fromkeys(numbers))
    found = (
        entry
        for first in range(0, len(ids), PORTION)
        for entry in _entries(work, ids[first : first + PORTION])
        if _fits(entry, q, group, active)
    )
    return list(islice(found, limit))


def _entries(work: Work, ids: Sequence[int]) -> Iterator[SeriesEntry]:
    by_series: dict[int, list[TemplateMixin]] = {}
    for template in segments(work, ids):
        by_series.setdefault(template.series_id or template.id, []).append(template)
    for number, parts in sorted(by_series.items()):
        parts.sort(key=lambda part: (part.active_from is not None, part.active_from, part.id))
        current = next((part for part in parts if _goes_on(work, part)), None)
        shown = current or parts[-1]
        yield SeriesEntry(number, shown.name, shown.group, current, parts[-1], current is None)


def _goes_on(work: Work, template: TemplateMixin) -> bool:
    """Whether a segment promises a slot that is not over, switched on or not."""
    spec = replace(TemplateSpec.of(template, copied=False), active=True)
    try:
        ahead = planning.promised_after(spec, work.now, _FAR, steps=Steps(_LOOKED_AT_EACH))
        return next(ahead, None) is not None
    except TooCostly:
        return True  # nobody knows
    except (ValueError, LookupError, OSError, ArithmeticError):  # a rule that is broken promises nothing
        return False


def _fits(entry: SeriesEntry, q: str | None, group: str | None, active: bool | None) -> bool:
    """Whether an entry is asked for, and not only an older segment of its series."""
    shown = entry.current or entry.last
    texts = (shown.name, shown.group, shown.rrule)
    return (
        (group is None or shown.group == group)
        and (active is None or shown.active is active)
        and (q is None or any(_folded(q) in _folded(text) for text in texts if text))
    )


# -- by id -----------------------------------------------------------------------------------------------------


def find_template(work: Work, template_id: int) -> TemplateMixin:
    """Return a template, or raise ``TemplateNotFound``."""
    return _by_id(work, work.models.Template, template_id, no_template(template_id))


def segments_of(work: Work, key: SlotKey) -> list[TemplateMixin]:
    """Return the templates of the series of a slot, in order.

    :raises SlotNotFound: if there is no such series.
    """
    found = segments(work, [key.series_id])
    if not found:
        raise no_slot(key)
    return found


def find_booking(work: Work, booking_id: Any) -> BookingMixin:
    """Return a booking by its id, or the newest with a token; or raise ``BookingNotFound``."""
    cls = work.models.Booking
    if not isinstance(booking_id, str):
        return _by_id(work, cls, booking_id, no_booking(booking_id))
    query = select(cls).where(cls.token == booking_id).order_by(cls.id.desc()).limit(1)
    found = work.session.scalars(query).one_or_none() if booking_id else None
    if found is None:
        raise no_booking("with this token")  # it opens a booking, so it is in no text
    return found


def find_run(work: Work, run_id: int) -> RunMixin:
    """Return a recorded top-up, or raise ``RunNotFound``."""
    return _by_id(work, work.models.Run, run_id, no_run(run_id))


def _by_id(work: Work, cls: type[Row], number: Any, missing: RollingSlotsError) -> Row:
    is_number = isinstance(number, int) and not isinstance(number, bool) and 0 < number < _MAX_ID
    found = work.session.get(cls, number) if is_number else None
    if found is None:
        raise missing
    return found


def runs(
    work: Work, template_id: int | None = None, limit: int = 50, before: int | None = None
) -> list[RunMixin]:
    """Return the recorded top-ups, newest first; of one template: those of the last 1,000 that touched it.

    :param limit: at most so many.
    :param before: only those with a smaller id.
    """
    cls = work.models.Run
    query = select(cls).order_by(cls.id.desc())
    if before is not None:
        query = query.where(cls.id < before)
    if template_id is None:
        return list(work.session.scalars(query.limit(limit)))
    query = query.where(or_(cls.template_id == template_id, cls.template_id.is_(None)))
    found = (
        run
        for run in work.session.scalars(query.limit(_RUNS_SEARCHED))
        if run.template_id == template_id or str(template_id) in (run.results or {}).get("templates", {})
    )
    return list(islice(found, limit))


# -- what arguments have to be


def check_limit(limit: int) -> None:
    """Refuse a limit that is none.

    :raises InvalidRequest: names the argument.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= _MOST:
        raise refusal("limit", limit, f"a whole number from 1 to {_MOST:,}")


def check_group(group: str | None) -> None:
    """Refuse what is no group.

    :raises InvalidRequest: names the argument.
    """
    if group is not None and not isinstance(group, str):
        raise refusal("group", group, "a text")


def check_aware(**moments: Any) -> None:
    """Refuse moments, by name, that are naive or no moments.

    :raises InvalidRequest: names the argument.
    """
    for name, value in moments.items():
        if not isinstance(value, datetime) or value.tzinfo is None:
            raise refusal(name, value, "an aware datetime (with a time zone), such as datetime.now(UTC)")
