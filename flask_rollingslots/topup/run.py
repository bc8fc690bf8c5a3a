"""One top-up and its row: plan in spans, write in chunks, count everything, and keep what came of it."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from time import monotonic
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, insert, select, update
from sqlalchemy.exc import DBAPIError, OperationalError, StatementError

from .. import planning
from ..booking import waiting
from ..context import Work, count_of, load_slots, load_specs
from ..errors import Interrupted, LeaseLost, LostRace, RowsRefused, sentence
from ..filling import history
from ..filling.checks import Agreed, Brief
from ..filling.chunks import Backlog, Chunk, Written, write_chunk
from ..filling.expansion import pattern_of
from ..filling.screening import UNITS_AT_ONCE, Unit, batches, plan_by_rows, screen
from ..models import table_of
from ..recurrence.zones import next_midnight
from ..statements import is_lost_race, own_transaction
from ..values import COUNTS, Plan, Report, RunStatus, StoredSlot, Tally, TemplateSpec, Window
from . import pending
from .gate import Lease, from_ms, read_state
from .request import TopUpRequest
from .slices import Place, Slices
from .tallies import MOST_NAMED, Tallies, is_eventful

log = logging.getLogger("flask_rollingslots")

_SMALLEST_CHUNK, _FIRST_CHUNK, _LARGEST_CHUNK = 20, 500, 20_000
_VISIBLE_STEPS, _CHUNK_SECONDS = 5, 0.1
_REPLANS, _RACES = 5, 3
#: So many slots, and different starts, are planned at once while somebody waits for a page, and so many rows settled.
_SLOTS_IN_A_REQUEST, _STARTS_IN_A_REQUEST, _ROWS_IN_A_REQUEST = 10_000, 1_000, 120
#: What a database may say to a chunk.
_REFUSALS = (DBAPIError, StatementError, RowsRefused)
#: Up to so many templates a run row keeps the result of each, and never of more than so many.
_FEW, _MOST = 100, MOST_NAMED


#: Templates to be settled, which of their rows, and whether those are the last.
_Rows = tuple[dict[int, TemplateSpec], Sequence[ColumnElement[bool]], bool]


@dataclass
class Outcome:
    """What a run came to: one of this process, or one that several workers shared.

    :param busy: templates were left out, for somebody was editing them all the time.
    """

    report: Report
    errors: list[str]
    busy: bool

    @property
    def status(self) -> RunStatus:
        """How the run ends."""
        if self.errors:
            return RunStatus.FAILED
        return RunStatus.INTERRUPTED if self.busy else RunStatus.CONFIRMED

    @property
    def error(self) -> str | None:
        """All errors as one text."""
        return "; ".join(self.errors) or None


@dataclass
class Recorder:
    """Keeps one run row, with a work of the moment when the run began. Nothing here commits.

    :param place: where the next run is to go on, if this one had to stop.
    """

    work: Work
    request: TopUpRequest
    lease: Lease | None
    run_id: int | None = None
    done: int = 0
    total: int = 0
    created: int = 0
    place: Mapping[str, Any] | None = None
    _planned: int = 0

    def expect(self, planned: int, share: float) -> None:
        """Take in what a batch planned, and estimate the whole from the share planned so far (0 to 1)."""
        self._planned += planned
        self.total = max(self._planned, round(self._planned / share))

    def start(self) -> None:
        """Write the row, once."""
        if self.run_id is not None:
            return
        work, request, lease = self.work, self.request, self.lease
        values: dict[str, Any] = {"template_id": request.template_id, "trigger": request.trigger}
        values |= {"status": RunStatus.RUNNING.value, "started_at": work.now, "done": 0, "total": self.total}
        if lease is not None:
            values |= {"owner": lease.owner, "token": lease.token, "lease_name": work.settings.name}
        if request.template_id is not None:
            self.run_id = pending.adopt(work, request.template_id, values)
            if self.run_id is not None:
                return
        row = insert(table_of(work.models.Run)).values(**values)
        self.run_id = work.session.execute(row).inserted_primary_key[0]  # type: ignore[attr-defined]

    def find_place(self, key: str) -> Mapping[str, Any]:
        """Return where the last run of the same request stopped, unless everything was confirmed since; or nothing."""
        work, runs, confirmed = self.work, self.work.models.Run, read_state(self.work).confirmed_ms
        mine = (runs.lease_name == work.settings.name, runs.started_at >= from_ms(confirmed))
        query = select(runs.status, runs.results).where(
            runs.template_id.is_not_distinct_from(self.request.template_id), *mine
        )
        row = work.session.execute(query.order_by(runs.id.desc()).limit(1)).one_or_none()
        place = (row.results or {}).get("place") if row and row.status == RunStatus.INTERRUPTED else None
        return place if place and place["key"] == key else {}

    def close_dead_runs(self) -> None:
        """Close the runs of holders that never came back."""
        if self.lease is not None:
            table = table_of(self.work.models.Run)
            # Each lease counts its own tokens.
            dead = (table.c.token < self.lease.token, table.c.lease_name == self.work.settings.name)
            running = table.c.status == RunStatus.RUNNING.value
            closed = update(table).where(running, *dead).values(status=RunStatus.INTERRUPTED.value)
            self.work.session.execute(closed)

    def advance(self, rows: int, created: int) -> None:
        """Move the progress on by so many planned rows, of which so many were not there yet."""
        self.done += rows
        self.created += created
        self._set(done=self.done, created=self.created, total=self.total)

    def end(self, status: RunStatus, report: Report | None, now: datetime, error: str | None = None) -> None:
        """Close the row, if there is one, or one is needed to keep the place."""
        if self.place is not None:
            self.start()
        if self.run_id is None:
            return
        values: dict[str, Any] = {"status": status.value, "finished_at": now, "error": error and error[:2000]}
        if report is not None:
            values |= {name: getattr(report, name) for name in COUNTS}
            values |= {"skipped": report.skipped, "total": self.done}
            values["results"] = {**results_of(report), **asked(self.request)}
            values["results"] |= {"place": self.place} if self.place is not None else {}
            if report.window is not None:
                values |= {"window_start": report.window.start, "window_end": report.window.end}
        self._set(**values)

    def _set(self, **values: Any) -> None:
        table = table_of(self.work.models.Run)
        self.work.session.execute(update(table).where(table.c.id == self.run_id).values(**values))


def asked(request: TopUpRequest) -> dict[str, Any]:
    """Return what is kept of a request that names days of the calendar."""
    days = {"first_day": request.first_day, "end_day": request.end_day}
    found = {name: day.isoformat() for name, day in days.items() if day is not None}
    return {"request": found} if found else {}


def results_of(report: Report) -> dict[str, Any]:
    """Return what is kept per template and group: all of a few, of many only those in which something happened.

    Of a great many the first, those with an error before all others: no database takes a row of any size.
    """
    templates = {str(key): tally for key, tally in report.templates.items()}
    kept = {"templates": _kept(templates), "groups": _kept(report.groups)}
    return {**kept, "processed": len(report.templates) + report.unnamed}


def _kept(tallies: dict[str, Tally]) -> dict[str, dict[str, Any]]:
    found = list(tallies.items())
    if len(found) > _FEW:
        found = [item for item in found if is_eventful(item[1])]
        found = sorted(found, key=lambda item: not item[1].error)[:_MOST]
    return {key: tally.to_dict() for key, tally in found}


@dataclass
class Run:
    """The working state of one top-up.

    Templates are seen to in slices, by id: nothing is kept of a slice that is done but a few counts.

    :param recorder: keeps the run row; knows what is asked for, and the lease that each chunk renews.
    :param joins: all is written into the session's own transaction.
    :param fingerprint: of the templates, for a run that goes on where another one stopped.
    :param busy: templates that somebody was editing all the time: left out, to be looked at again soon.
    :ivar zones: of all templates that are asked for, as far as this machine knows them.
    :ivar own_windows: their ``window_days``.
    """

    recorder: Recorder
    clock: Callable[[], datetime]
    must_stop: Callable[[], bool]
    joins: bool = False
    fingerprint: str = ""
    report: Report = field(init=False)
    busy: set[int] = field(default_factory=set)
    zones: set[str] = field(default_factory=set)
    own_windows: set[int | None] = field(default_factory=set)
    _chunk_size: int = 0
    _stale: set[int] = field(default_factory=set)
    _windows: dict[tuple[str, int | None], Window] = field(default_factory=dict)
    _wrote: bool = False
    _planned: bool = False
    _kept: dict[int, TemplateSpec] = field(default_factory=dict)
    #: Templates of this slice whose window was complete the day before; and those of them that are to be compared.
    _rolled: dict[int, Agreed] = field(default_factory=dict)
    _unrolled: set[int] = field(default_factory=set)
    #: How many templates the slices before had.
    _before: int = 0
    #: Where an earlier run stopped, and this one goes on; where this one is by now.
    began_at: int = 0
    _place: Place = field(default_factory=Place)
    _key: str = ""

    def __post_init__(self) -> None:
        self.work, self.request, self._began = self.recorder.work, self.recorder.request, monotonic()
        self.now, self._renewed = self.work.now, self._began
        self.report = Report(dry_run=self.request.dry_run)
        self._tallies = Tallies(self.report)
        self._slices = Slices(self.work, self.request, self._fenced, self.joins)

    @property
    def outcome(self) -> Outcome:
        """What it came to so far."""
        errors = [f"{t.name}: {t.error}" for t in self.report.templates.values() if t.error]
        return Outcome(self.report, errors, bool(self.busy))

    def stops(self) -> bool:
        """Whether the budget is spent or the process ends, asked before more is written."""
        began, self._wrote = self._wrote, True
        return began and self.must_stop()

    def fill(self, *asked: ColumnElement[bool]) -> None:
        """Fill the windows of active templates, slice by slice.

        :param asked: which, in SQL; all if nothing is said.
        """
        self._survey(asked)
        self._go_on()
        while briefs := self._slices.load(asked, self._place.after):
            self._fill_slice(briefs, asked)
            self._place = Place(after=briefs[-1].id)
            self._before += len(briefs)
            if len(briefs) < self._slices.size:
                break
            if self.request.until is not None:
                raise Interrupted  # who waits for a page pays for one slice; the next request goes on
            self._keep_lease()
        self._slices.end()

    def _survey(self, asked: Sequence[ColumnElement[bool]]) -> None:
        """Look which zones and windows the templates have."""
        cls = self.work.models.Template
        query = select(cls.timezone, cls.window_days).where(cls.active.is_(True), *asked).distinct()
        for zone, days in self.work.session.execute(query):
            self.own_windows.add(days)
            with suppress(ValueError, OSError, LookupError):  # a zone that this machine does not know
                self.zones.add(ZoneInfo(zone).key)

    @property
    def complete_until(self) -> datetime:
        """When the next day begins in the zone of a template, or of the settings."""
        return next_midnight(self.zones | {self.work.settings.timezone}, self.now)

    def _fill_slice(self, briefs: list[Brief], asked: Sequence[ColumnElement[bool]]) -> None:
        """Fill some templates; those edited meanwhile are read and planned again."""
        cls, ids = self.work.models.Template, [brief.id for brief in briefs]
        agreed = self._slices.agreeing(briefs, self._window)
        self._tallies.belong({brief.id: brief.group for brief in briefs})
        self._rolled = {number: one for number, one in agreed.items() if one.until is not None}
        for one in agreed.values():
            if one.until is None:
                self._count_agreed(one)
        rest = [number for number in ids if number not in agreed or number in self._rolled]
        which = cls.id.in_(rest) if agreed else cls.id.between(ids[0], ids[-1])
        specs = self._load(which, *asked) if rest else []
        if not specs:
            self._end_reading()
        for number in range(_REPLANS):
            self._fill_once(specs, len(briefs), goes_on=not number and self.request.until is not None)
            again = self._stale | self._unrolled
            if not again:
                break
            self._stale, self._unrolled, self._rolled = set(), set(), {}
            specs = self._load(cls.id.in_(again))
        self._slices.record()
        self.note_history()
        if len(self.report.templates) > MOST_NAMED:
            self._tallies.thin_out(pending.waiting_for(self.work))
            self._end_reading()

    def _load(self, *which: ColumnElement[bool]) -> list[TemplateSpec]:
        specs = load_specs(self.work, *which, unreadable=self.leave_out)
        return [spec for spec in specs if spec.active]

    def _count_agreed(self, agreed: Agreed) -> None:
        """Count what a check says is there."""
        tally = self._tallies.of(agreed.brief.id, agreed.brief.name)
        tally.existing += agreed.existing
        tally.expected += agreed.existing
        self._tallies.skip(agreed.skipped)

    def _keep_lease(self) -> None:
        """Renew the lease where nothing was written for long."""
        lasted = monotonic() - self._renewed
        if self.recorder.lease is not None and lasted > self.work.settings.lease_seconds / 3:
            with self._fenced():
                self._renewed = monotonic()

    @contextmanager
    def _fenced(self) -> Iterator[Work]:
        """Begin a short transaction in which the lease was renewed, at this moment."""
        with self._transaction():
            work = replace(self.work, now=self.clock())
            if self.recorder.lease is not None:
                self.recorder.lease.renew(work)
            yield work

    def _fill_once(self, specs: list[TemplateSpec], size: int, goes_on: bool) -> None:
        # What has the same expansion is put together, in the order in which it comes first.
        backfills, past = self.request.backfills(self.now), self._past_starts(specs)
        groups: dict[bool, dict[Hashable, list[tuple[TemplateSpec, Window]]]] = {False: {}, True: {}}
        for spec in specs:
            start = past.get(spec.id)
            try:
                spans = history.spans(self._missing_in(spec, start), *self._length(spec))
                mine = [(pattern_of(spec, span), span) for span in spans]
            except Exception as error:  # such as a zone that this machine does not know
                self.leave_out(spec.id, spec.name, error)
                continue
            for pattern, span in mine:
                groups[backfills or start is not None].setdefault(pattern, []).append((spec, span))
        total = sum(len(members) for each in groups.values() for members in each.values())
        done = self._leave_out_seen(groups.values(), [spec.id for spec in specs], total) if goes_on else 0
        bounds = () if self.request.until is None else (_SLOTS_IN_A_REQUEST, _STARTS_IN_A_REQUEST)
        for backfill, some in groups.items():
            for batch in batches(some, *bounds):
                self._stop_in_time()
                backlog = self._plan_batch(batch, backfill)
                done += len(batch)
                self.recorder.expect(len(backlog), self._share(done / total, size))
                self._write_all(backlog)
                self._place = self._place._replace(seen=done) if goes_on else self._place

    def _missing_in(self, spec: TemplateSpec, past: datetime | None) -> Window:
        """Return where something of a template may be missing.

        :param past: from where on one that keeps its history is looked at.
        """
        window, rolled = self._window(spec), self._rolled.get(spec.id)
        if rolled is not None and rolled.brief.revision == spec.revision:
            return Window(rolled.until or window.start, window.end)
        self._rolled.pop(spec.id, None)
        return window if past is None else Window(past, window.end)

    def _share(self, part: float, size: int) -> float:
        """Return how much of everything is planned, given how much of a slice is."""
        known = count_of(self.fingerprint) if self.fingerprint and size == self._slices.size else 0
        return (self._before + part * size) / max(known, self._before + size)

    def _length(self, spec: TemplateSpec) -> tuple[timedelta, ...]:
        """Return how much of a template's window is planned at once while somebody waits; nothing: as usual."""
        if self.request.until is None:
            return ()
        return (timedelta(days=max(1, _STARTS_IN_A_REQUEST // planning.recurrence_of(spec).most_a_day())),)

    def _go_on(self) -> None:
        """Find where a run that had to stop was, if somebody waits for this one, too."""
        if self.request.until is None:
            return
        # Since no day began anywhere meanwhile, what that run saw to is as complete as what this one will.
        self._key = f"{self.fingerprint} {self.complete_until}"
        place, self.recorder.place = self.recorder.find_place(self._key), None
        self._end_reading()
        for number, name, error in place.get("left_out", ()):
            self.report.templates[number] = Tally(name, error=error)
        self.busy |= set(place.get("busy", ()))
        self._place = Place(
            *(place.get(name, usual) for name, usual in zip(Place._fields, Place(), strict=True))
        )
        self.began_at = self._place.after or self._place.seen

    def _leave_out_seen(self, groups: Iterable[dict[Hashable, list[Any]]], ids: list[int], total: int) -> int:
        """Leave out what of a slice a run that had to stop saw to already; return how much that is."""
        part = f"{zlib.crc32(repr(ids).encode())} {total}"
        seen = done = self._place.seen if self._place.part == part else 0
        self._place = self._place._replace(part=part, seen=seen)
        for members in (each for some in groups for each in some.values()):
            left_out = min(done, len(members))
            del members[:left_out]
            done -= left_out
        return seen

    def keep_place(self) -> None:
        """Let the run row say where the next run is to go on, if this is one of those that do."""
        if not self._key:
            return
        left_out = [(number, tally.name, tally.error) for number, tally in self.report.templates.items()]
        self.recorder.place = {
            "key": self._key,
            **self._place._asdict(),
            "left_out": [each for each in left_out if each[2]][:_MOST],
            "busy": sorted(self.busy | self._stale)[:_MOST],
        }

    def _past_starts(self, specs: list[TemplateSpec]) -> dict[int, datetime]:
        """Return from where on templates that keep their history are filled, by id; note which they are."""
        kept = [spec for spec in specs if spec.keep_history] if self.request.begins_now else []
        found = history.past_starts(self.work, kept)
        if kept:
            self._kept |= {spec.id: spec for spec in kept}
            self._end_reading()
        return found

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Begin a short transaction of our own, unless the run joins one; tell at its end what is told within it."""
        work = self.work
        try:
            with nullcontext() if self.joins else own_transaction(work.session, table_of(work.models.Lease)):
                yield
                work.outbox.send(work)
        except BaseException:
            work.outbox.clear()
            raise

    def note_history(self) -> None:
        """Note up to where templates that keep their history are complete: all that they promise is committed."""
        kept, self._kept = self._kept, {}
        if self.request.dry_run:
            return
        whole = [spec for spec in kept.values() if spec.id not in self.busy and not self._tally(spec).error]
        ends = [(spec, self._window(spec).end) for spec in whole]
        ends = [(spec, end) for spec, end in ends if spec.history_until is None or spec.history_until < end]
        for position in range(0, len(ends), UNITS_AT_ONCE):
            try:
                with self._transaction():
                    history.note_complete(self.work, ends[position : position + UNITS_AT_ONCE])
            except DBAPIError as error:
                if self.joins or not is_lost_race(error):
                    raise
                log.debug("the next run notes the history: %s", sentence(error))

    def _write_all(self, backlog: Backlog) -> None:
        if not self._chunk_size:
            first = len(backlog) // _VISIBLE_STEPS if self.request.watched else _FIRST_CHUNK
            self._chunk_size = max(_SMALLEST_CHUNK, min(_FIRST_CHUNK, first))
        while backlog:
            self._write_isolated(backlog.take(self._chunk_size))

    def settle(self, *asked: ColumnElement[bool]) -> None:
        """Bring the stored slots of templates that were changed through the ORM in line, wherever they are.

        What a facade decided is settled already. Templates that are switched off are settled too.

        :param asked: which templates this run is about.
        """
        cls, slot = self.work.models.Template, self.work.models.Slot
        unsettled = cls.settled_revision.is_distinct_from(cls.revision)
        specs = load_specs(self.work, unsettled, *asked, unreadable=self.leave_out)
        for some, which, is_all in (
            self._some_rows(specs) if self.request.until is None else self._few_rows(specs)
        ):
            rows: dict[int, list[StoredSlot]] = {spec_id: [] for spec_id in some}
            mine = (slot.template_id.in_(list(some)), slot.ends_at > self.now, *which)
            for row in load_slots(self.work, *mine, wholly=True):
                rows[row.template_id].append(row)
            self._end_reading()
            backlog, sound = Backlog(), []
            for template_id, theirs in rows.items():
                spec = some[template_id]
                try:
                    plan = planning.settle(spec, theirs, self.now)
                    if spec.active:  # those in the window are counted there
                        end = self._window(spec).end
                        plan.kept_booked = [row for row in plan.kept_booked if row.starts_at >= end]
                    self._take_in(backlog, spec, plan)
                    sound.append(spec)
                except Exception as error:
                    self.leave_out(spec.id, spec.name, error)
            self._write_all(backlog)
            if is_all:
                self._note_settled([spec for spec in sound if spec.id not in self._stale | self.busy])

    def _some_rows(self, specs: list[TemplateSpec]) -> Iterator[_Rows]:
        """Yield templates to be settled, many at a time, with all of their rows."""
        for position in range(0, len(specs), UNITS_AT_ONCE):
            yield {spec.id: spec for spec in specs[position : position + UNITS_AT_ONCE]}, (), True

    def _few_rows(self, specs: list[TemplateSpec]) -> Iterator[_Rows]:
        """Yield templates to be settled, with a chunk of rows at a time; go on where another run had to stop."""
        slot, key = self.work.models.Slot, f"settling {self.fingerprint}"
        place = self.recorder.find_place(key)
        for spec in specs:
            after = datetime.fromisoformat(place["after"]) if place.get("template") == spec.id else None
            while True:
                which = [] if after is None else [slot.original_start > after]
                mine = (slot.template_id == spec.id, slot.ends_at > self.now, *which)
                query = select(slot.original_start).where(*mine).order_by(slot.original_start)
                last = self.work.session.scalar(query.offset(_ROWS_IN_A_REQUEST - 1).limit(1))
                self._stop_in_time()
                up_to = [] if last is None else [slot.original_start <= last]
                yield {spec.id: spec}, [*which, *up_to], last is None
                if spec.id in self._stale:
                    raise Interrupted  # somebody was faster with a row: the next run reads these again
                if spec.id in self.busy or last is None:
                    break
                after = last
                self.recorder.place = {"key": key, "template": spec.id, "after": after.isoformat()}

    def _stop_in_time(self) -> None:
        """Before more is planned: stop if the time of somebody who waits is over, but for the first time."""
        if self._planned and self.request.until is not None and monotonic() >= self.request.until:
            raise Interrupted
        self._planned = True

    def serve_waiting(self, *asked: ColumnElement[bool]) -> None:
        """Offer places that are free to those who wait for them, each slot in a transaction of its own.

        Nearly always that was done in the transaction that freed them; what got free by the time is offered here.

        :param asked: which templates this run is about.
        """
        if self.request.dry_run:
            return
        due = waiting.find_due(self.work, *asked)
        self._end_reading()
        for slot_id in due:
            if self.stops():
                raise Interrupted
            try:
                with self._fenced() as work:
                    waiting.serve_one(work, slot_id)
            except LeaseLost:
                raise
            except Exception as error:  # one slot must not keep the others from it
                if self.joins:
                    raise
                level = (
                    logging.DEBUG if isinstance(error, LostRace) or is_lost_race(error) else logging.WARNING
                )
                log.log(level, "slot %s: nobody was offered places: %s", slot_id, sentence(error))

    def _note_settled(self, specs: list[TemplateSpec]) -> None:
        """Write down with which revision the stored slots of some templates were brought in line."""
        if self.request.dry_run or not specs:
            return
        table = table_of(self.work.models.Template)
        with self._transaction():
            for spec in specs:
                as_planned = (table.c.id == spec.id, table.c.revision == spec.revision)
                self.work.session.execute(
                    update(table).where(*as_planned).values(settled_revision=spec.revision)
                )

    def _end_reading(self) -> None:
        """End a transaction in which nothing was written."""
        if not self.joins:
            self.work.session.rollback()

    def leave_out(self, template_id: int, name: str, error: Exception) -> None:
        """Report a template as failed; the others go on."""
        tally = self.report.templates.setdefault(template_id, Tally(name))
        tally.error = sentence(error)
        log.warning("template %s (%s) left out: %s", template_id, name, tally.error)

    def _window(self, spec: Any) -> Window:
        """Return the window of a template, of which zone and number of days are known."""
        key = (spec.timezone, spec.window_days)
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = self.request.window(spec, self.now, self.work.settings)
            seen = self.report.window or window
            self.report.window = Window(min(seen.start, window.start), max(seen.end, window.end))
        return window

    def _plan_batch(self, batch: list[Unit], backfill: bool) -> Backlog:
        """Plan what is not simply there, or simply missing, row by row; the rest without reading it."""
        backlog = Backlog()
        known, odd = screen(self.work, batch, backfill=backfill, checks=self._slices.has_checks)
        self._end_reading()
        # A day that is there, or is not simply missing: such a template is compared in full after all.
        there = {each.spec.id for each in known if len(set(each.missing(backfill))) == 1}
        self._unrolled |= self._rolled.keys() & (there | {unit.spec.id for unit in odd})
        for screened in known:
            rolled = self._rolled.get(screened.spec.id)
            if screened.spec.id in self._unrolled:
                continue
            if rolled is not None:
                self._count_agreed(rolled)
            elif screened.window == self._window(screened.spec) and not backfill:
                self._slices.note(screened)
            tally, (first, end) = self._tally(screened.spec), screened.missing(backfill)
            self._count(tally, screened.counts(backfill))
            if self.request.dry_run:
                tally.created += end - first
            else:
                backlog.add_new(screened.spec, screened.expansion, first, end)
        odd = [unit for unit in odd if unit.spec.id not in self._rolled]
        for unit, plan in plan_by_rows(self.work, odd, self._end_reading, backfill=backfill):
            self._take_in(backlog, unit.spec, plan)
        return backlog

    def _take_in(self, backlog: Backlog, spec: TemplateSpec, plan: Plan | Exception) -> None:
        if isinstance(plan, Exception):
            self.leave_out(spec.id, spec.name, plan)
            return
        self._count(self._tally(spec), plan)
        if not self.request.dry_run:
            backlog.add(spec, plan)

    def _tally(self, spec: TemplateSpec) -> Tally:
        return self._tallies.of(spec.id, spec.name)

    def _count(self, tally: Tally, plan: Plan) -> None:
        tally.expected += plan.expected
        tally.existing += plan.existing
        tally.kept_booked += len(plan.kept_booked)
        self._tallies.skip(plan.skipped)
        if self.request.dry_run:
            tally.created += len(plan.create)
            tally.updated += sum(each.shows for each in plan.update)
            tally.removed += len(plan.remove)

    def _write_isolated(self, chunk: Chunk) -> None:
        """Write a chunk; if the database refuses it, template by template, so that one cannot stop the others."""
        try:
            self._write_patiently(chunk)
        except _REFUSALS as error:
            if self.joins or isinstance(error, OperationalError):
                raise
            if len(chunk.specs) == 1:
                (spec,) = chunk.specs.values()
                self.leave_out(spec.id, spec.name, error)
                return
            for spec_id in chunk.specs:
                self._write_isolated(chunk.without(set(chunk.specs) - {spec_id}))

    def _write_patiently(self, chunk: Chunk) -> None:
        """Write a chunk; a race that the database ended is run again, a few times."""
        for tries_left in reversed(range(_RACES)):
            before = vars(self.recorder).copy()
            try:
                return self._write(chunk)
            except _REFUSALS as error:
                vars(self.recorder).update(before)  # what it noted was rolled back
                if not (tries_left and not self.joins and is_lost_race(error)):
                    raise
                log.debug("chunk written again after a lost race: %s", sentence(error))

    def _write(self, chunk: Chunk) -> None:
        if self._wrote and self.must_stop():
            raise Interrupted
        began = monotonic()
        with self._fenced() as work:
            self.recorder.start()
            written = write_chunk(work, chunk, self.recorder.run_id)
            self.recorder.advance(len(chunk), written.created.total())
        self._wrote, self._renewed = True, began
        self._note(written)
        self._adapt(len(chunk), monotonic() - began)
        if self.request.progress is not None:
            self.request.progress(self.recorder.done, self.recorder.total)

    def _adapt(self, rows: int, seconds: float) -> None:
        """Size the next chunks so that each takes about 100 ms."""
        fitting = int(rows * _CHUNK_SECONDS / max(seconds, 0.001))
        self._chunk_size = max(_SMALLEST_CHUNK, min(_LARGEST_CHUNK, fitting))

    def _note(self, written: Written) -> None:
        self._stale |= written.stale
        self.busy |= written.busy
        for name in ("created", "updated", "removed"):
            for template_id, number in getattr(written, name).items():
                tally = self.report.templates[template_id]
                setattr(tally, name, getattr(tally, name) + number)

    def finish(self) -> Report:
        """Sum up what was done so far; may be called again."""
        self._tallies.sum_up()
        self.report.run_id = self.recorder.run_id
        self.report.seconds = monotonic() - self._began
        return self.report
