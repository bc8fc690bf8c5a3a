"""Knowing that nothing is missing without reading a row: so many stored slots, with that checksum of their starts.

When a template was found stored exactly as its rule says, a check notes that: for one revision of the template, one
window, and all else that the rule's times follow from. A later look counts what is stored, in the index alone, and
expands and reads only where that differs. A check cannot be outdated: it does not say that a template is complete, but
that it is complete with these starts.

What a look by checks cannot hide, for each reason why a top-up changes rows:

- Missing, added and moved rows change the number or the checksum. Where a person has moved a row, or one is withdrawn,
  displaced or kept for its booking at another time, the starts are not those of the rule: such a template never gets a
  check, and its rows are read each time.
- An edited template has another revision. One that a bulk UPDATE changed has not, but its columns say something else
  about times, and a check knows what they said. What an edit means for rows wherever they are (times of opening,
  capacity, data, marks) is brought in line by ``settled_revision`` before, whatever a check says; so are both parts of
  a series that was cut, for a cut is an edit of both.
- Time goes on: what has started is not made any more, so what was complete stays complete. Where the past was missing,
  the check says from when on it is complete, also for a clock that is set back.
- A hold that expires frees a row that stands elsewhere than its rule says, and that has no check; a free place is
  offered by the waiting list's own query.
- A template that keeps its history is looked at beyond its window: it is never compared by a check.
- Status, end and original start of a row that somebody changed past the library, at the same start: on each day all is
  compared in full once, for a check only holds on the day that it was made, and for the first look of the next one.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import (
    ColumnElement,
    Select,
    bindparam,
    case,
    delete,
    func,
    literal,
    select,
)

from .. import planning
from ..context import Work
from ..models import Models, UtcDateTime, is_away, table_of
from ..recurrence.public_holidays import public_holiday
from ..statements import among, checksum_of, ids_at_once, row_text
from ..values import Window
from .bulk import insert_rows
from .screening import Screened

log = logging.getLogger("flask_rollingslots")

#: Checks that are written at once.
_ROWS_AT_ONCE = 5_000
_LONGEST_CHECKSUM = 64
#: Raised when the same rule comes to mean other times.
_MEANING = 1
#: A check is of today's window or of yesterday's, and a window grows by a day at a time; zones have days of 26 hours.
_A_DAY_MS = 26 * 3600 * 1000
#: More than a zone, a gap and a day grid can move anything.
_FAR = timedelta(days=10)
#: Slots that last longer follow from offsets beyond those that a check knows.
_LONGEST = timedelta(days=8)
_STEP = timedelta(hours=6)


class Brief(NamedTuple):
    """One template as a look by checks needs it, with its check, if it has one.

    :param rule: what its columns say that its times follow from.
    :param proven: the revision that the check is of; ``None``: there is no check.
    """

    id: int
    name: str
    group: str | None
    timezone: str
    holidays: str | None
    window_days: int | None
    keep_history: int
    revision: int
    rule: str
    proven: int | None
    said: str
    start_ms: int
    end_ms: int
    from_ms: int
    basis: str
    number: int
    checksum: str
    skipped: str

    @property
    def checked(self) -> Window:
        """The window of its check."""
        return Window(_moment(self.start_ms), _moment(self.end_ms))


class Agreed(NamedTuple):
    """A template that is stored as its check says.

    :param existing: stored slots of the window, up to ``until``.
    :param until: up to where it is complete; ``None``: it is complete.
    """

    brief: Brief
    existing: int
    skipped: dict[str, int]
    until: datetime | None


_OF_TEMPLATE, _OF_CHECK = Brief._fields[:8], Brief._fields[11:]
#: The columns of a template that the times of its slots follow from.
_OF_RULE = (
    "rrule", "dtstart", "timezone", "duration", "ends_by", "every", "until_time", "rdates", "exdates", "holidays",
    "blackouts", "overlapping", "exclusive", "pool", "active_from", "active_until", "cancelled_from", "shift",
)  # fmt: skip


def load_briefs(
    work: Work, asked: Sequence[ColumnElement[bool]], after: int, limit: int, has_checks: bool
) -> list[Brief]:
    """Return the next active templates, by id.

    :param asked: which, in SQL.
    :param after: the last id that is not wanted any more.
    :param has_checks: whether the database has the table of checks; an older version made none.
    """
    cls, check = work.models.Template, work.models.Check
    columns: list[Any] = [getattr(cls, name) for name in _OF_TEMPLATE]
    # Whatever somebody wrote there by hand: only reading the whole template says what is wrong with it.
    columns[_OF_TEMPLATE.index("keep_history")] = case((cls.keep_history.is_(True), 1), else_=0)
    if has_checks:
        said = table_of(cls).c
        columns += [row_text([said[name] for name in _OF_RULE], work.dialect), check.revision, check.rule]
        columns += [getattr(check, name) for name in _OF_CHECK]
    else:
        columns += [literal("")] + [literal(None)] * (2 + len(_OF_CHECK))
    query = select(*columns).where(cls.active.is_(True), cls.id > after, *asked)
    if has_checks:
        query = query.outerjoin(check, check.template_id == cls.id)
    return list(map(Brief._make, work.session.execute(query.order_by(cls.id).limit(limit))))


def digest_of(rule: str) -> str:
    """Return what a check keeps of what a template said."""
    return hashlib.blake2b(rule.encode(), digest_size=16).hexdigest()


def agreeing(
    work: Work, briefs: Iterable[Brief], window_of: Callable[[Brief], Window], rolls: bool
) -> dict[int, Agreed]:
    """Return those templates, by id, that are stored as their checks say: a few grouped statements for each window.

    :param window_of: returns the rolling window of a template now.
    :param rolls: also those whose check is of the window of the day before, up to the end of that.
    """
    alike: dict[Any, Window | None] = {}
    spans: dict[tuple[int, int, datetime], list[Brief]] = {}
    for brief in briefs:
        if brief.proven != brief.revision or brief.keep_history or brief.said != digest_of(brief.rule):
            continue
        kind = _kind_of(brief)
        if kind not in alike:
            alike[kind] = _window_today(brief, window_of, work.now, rolls)
        window = alike[kind]
        if window is not None and _may_be_plain(brief, window):
            spans.setdefault((brief.start_ms, brief.end_ms, window.start), []).append(brief)
    found: dict[int, Agreed] = {}
    for (_, _, since), some in spans.items():
        size = ids_at_once(work.dialect)
        for position in range(0, len(some), size):
            found |= _compared(work, some[position : position + size], since)
    return found


#: Templates of one kind differ in what is stored only.
_kind_of = attrgetter("timezone", "window_days", "holidays", "start_ms", "end_ms", "from_ms", "basis")


def _window_today(
    brief: Brief, window_of: Callable[[Brief], Window], now: datetime, rolls: bool
) -> Window | None:
    """Return the window of a template today, if its check says anything about it."""
    try:
        window = window_of(brief)
        basis = basis_of(brief.timezone, brief.holidays, brief.start_ms, brief.end_ms)
    except Exception as error:  # such as a zone that this machine does not know
        log.debug("planning will say what is wrong with template %s: %s", brief.id, error)
        return None
    start, end = _milliseconds(window.start), _milliseconds(window.end)
    if brief.basis != basis:
        return None
    if (brief.start_ms, brief.end_ms) == (start, end):
        return window if brief.from_ms <= max(start, _milliseconds(now) + 1) else None
    is_yesterday = 0 < start - brief.start_ms <= _A_DAY_MS and 0 < end - brief.end_ms <= _A_DAY_MS
    return window if rolls and is_yesterday and brief.from_ms <= start < brief.end_ms else None


def _may_be_plain(brief: Brief, window: Window) -> bool:
    """Whether a check says what is left out of the window: of yesterday's, only its days would."""
    if not brief.skipped or brief.checked == window:
        return True
    return set(json.loads(brief.skipped)) == {planning.IN_THE_PAST}


def _compared(work: Work, briefs: list[Brief], since: datetime) -> dict[int, Agreed]:
    """Compare what is stored in the window that all these checks are of with what they say.

    :param since: when the window of today begins.
    """
    checked, dialect, models = briefs[0].checked, work.dialect, work.models
    is_old = checked.start < since
    query = models.build_once(("stored starts", dialect, is_old), lambda m: _query(m, dialect, is_old))
    values: dict[str, Any] = {"templates": [brief.id for brief in briefs]}
    values |= {"window_start": checked.start, "window_end": checked.end}
    values |= {"since": since} if is_old else {}
    stored = {row[0]: row for row in work.session.execute(query, values)}
    nothing, until, found = (0, None, 0), checked.end if is_old else None, dict[int, Agreed]()
    last, form = None, ""
    for brief in briefs:
        row = stored.get(brief.id, nothing)
        if row[1] != last:  # neighbours are often alike
            last, form = row[1], _form_of(row[1])
        if (form if row[1] else "") == brief.checksum:
            skipped = {} if is_old or not brief.skipped else json.loads(brief.skipped)
            found[brief.id] = Agreed(brief, row[2] if is_old else brief.number, skipped, until)
    for template_id, status, number in _away(work, briefs, Window(since, checked.end)):
        if template_id in found:
            found[template_id].skipped[status] = number
    return found


def _query(models: Models, dialect: str, is_old: bool) -> Select[Any]:
    slot = table_of(models.Slot).c
    start, end, since = (
        bindparam(name, type_=UtcDateTime()) for name in ("window_start", "window_end", "since")
    )
    here = [func.count(case((slot.starts_at >= since, 1)))] if is_old else []
    query = select(slot.template_id, checksum_of(slot.starts_at, slot.starts_at, dialect), *here)
    mine = (among(slot.template_id, "templates", dialect), slot.starts_at >= start, slot.starts_at < end)
    query, table = query.where(*mine).group_by(slot.template_id), table_of(models.Slot)
    for index in table.indexes:
        if [column.name for column in index.columns] == ["template_id", "starts_at"]:
            # MariaDB takes any index that begins with the template, and then reads the rows.
            query = query.with_hint(table, f"FORCE INDEX ({index.name})", "mysql")
            query = query.with_hint(table, f"FORCE INDEX ({index.name})", "mariadb")
    return query


def _away(work: Work, briefs: list[Brief], window: Window) -> Iterable[Any]:
    """Return (template id, status, number) of what is cancelled or deleted: read in an index of its own."""
    slot = table_of(work.models.Slot).c
    mine = (is_away(work.models), slot.template_id.between(briefs[0].id, briefs[-1].id))
    here = (slot.starts_at >= window.start, slot.starts_at < window.end)
    query = select(slot.template_id, slot.status, func.count()).where(*mine, *here)
    return work.session.execute(query.group_by(slot.template_id, slot.status))


def _form_of(checksum: str | None) -> str:
    """Return a checksum as it is kept, of a long one its digest; empty where there were no rows."""
    if checksum is None or len(checksum) <= _LONGEST_CHECKSUM:
        return checksum or ""
    return hashlib.blake2b(checksum.encode(), digest_size=16).hexdigest()


def row_of_check(screened: Screened, rule: str) -> dict[str, Any] | None:
    """Return the check of a template that was found complete, as a row; ``None`` if it can have none.

    :param rule: what the template said before it was read to be compared.
    """
    spec, window, part = screened.spec, screened.window, screened.part
    if (
        spec.keep_history
        or spec.duration > _LONGEST
        or screened.missing(backfill=False)[0] < len(screened.expansion)
    ):
        return None
    start, end = _milliseconds(window.start), _milliseconds(window.end)
    skipped = {**screened.expansion.skipped} | ({planning.IN_THE_PAST: part.first} if part.first else {})
    return {
        "template_id": spec.id,
        "revision": spec.revision,
        "rule": digest_of(rule),
        "start_ms": start,
        "end_ms": end,
        "from_ms": screened.expansion.columns.starts_at[part.first - 1] // 1000 + 1 if part.first else start,
        "basis": basis_of(spec.timezone, spec.holidays, start, end),
        "number": part.end - part.first,
        "checksum": _form_of(screened.checksum),
        "skipped": json.dumps(skipped) if skipped else "",
    }


def record(work: Work, rows: list[dict[str, Any]]) -> None:
    """Write checks, each in the place of an older one of its template."""
    table = table_of(work.models.Check)
    for position in range(0, len(rows), _ROWS_AT_ONCE):
        some = rows[position : position + _ROWS_AT_ONCE]
        gone = delete(table).where(table.c.template_id.in_([row["template_id"] for row in some]))
        work.session.execute(gone)
        insert_rows(work.session.connection(), table, some)


def forget_gone(work: Work) -> None:
    """Delete the checks of templates that are gone."""
    table, template = table_of(work.models.Check), table_of(work.models.Template)
    work.session.execute(delete(table).where(table.c.template_id.not_in(select(template.c.id))))


# -- what a rule's times follow from beside the template


def basis_of(timezone: str, holidays: str | None, start_ms: int, end_ms: int) -> str:
    """Return a text that changes with what the times of a window follow from, beside the template itself.

    By what they say about the window, and not by version numbers: a system may have its zone tables from anywhere, and
    most versions change nothing here.
    """
    return _basis(ZoneInfo(timezone), holidays, start_ms, end_ms)


@lru_cache(maxsize=1024)
def _basis(zone: ZoneInfo, holidays: str | None, start_ms: int, end_ms: int) -> str:
    # A zone is another object once its table was read anew; holidays change with the process only.
    start, end = _moment(start_ms) - _FAR, _moment(end_ms) + _FAR
    days = (start.date() + timedelta(days=number) for number in range((end - start).days + 1))
    off = [day.isoformat() for day in days if holidays is not None and public_holiday(holidays, day)]
    said = (_MEANING, *_versions(), list(_offsets(zone, start, end)), off)
    return hashlib.blake2b(repr(said).encode(), digest_size=16).hexdigest()


def _offsets(zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[tuple[str, float]]:
    """Yield the offsets of a zone from UTC, in seconds, each with the second from which on it holds."""

    def offset(moment: datetime) -> timedelta:
        return moment.astimezone(zone).utcoffset() or timedelta(0)

    moment, known = start, offset(start)
    yield start.isoformat(), known.total_seconds()
    while moment < end:
        following = moment + _STEP
        if offset(following) != known:
            low, high = 0, int(_STEP.total_seconds())
            while high - low > 1:
                middle = (low + high) // 2
                is_later = offset(moment + timedelta(seconds=middle)) != known
                low, high = (low, middle) if is_later else (middle, high)
            known = offset(following)
            yield (moment + timedelta(seconds=high)).isoformat(), known.total_seconds()
        moment = following


@cache
def _versions() -> tuple[str, ...]:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in ("Flask-RollingSlots", "python-dateutil"):
        try:
            found.append(version(name))
        except PackageNotFoundError:  # a checkout that was not installed
            found.append("")
    return tuple(found)


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
