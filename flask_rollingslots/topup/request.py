"""What a top-up is asked to do: which templates, which window."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, select

from ..context import Unreadable, Work, load_specs
from ..errors import no_group, no_template, refusal
from ..lazy import lazy
from ..settings import MAX_DAYS, Settings
from ..values import TemplateSpec, Window

if TYPE_CHECKING:
    from .. import planning
else:
    (planning,) = lazy(".planning")


@dataclass(frozen=True, slots=True)
class TopUpRequest:
    """What to top up.

    :param trigger: ``request``, ``view``, ``hole``, ``edit``, ``manual`` or ``api``: who asked.
    :param days: local days from today; ``None``: each template's own window.
    :param start: aware; instead of now. In the past: past slots are created too.
    :param end: aware; instead of the window's end.
    :param template_id: only the series of this template.
    :param progress: called with (done, total) slots after each chunk.
    :param first_day: a local day of each template's zone; past slots are created too.
    :param end_day: the local day at which it ends (excluded); ``None``: after today.
    :param run_id: the run row, if it is written already.
    :param until: of ``monotonic()``: somebody waits: plan little at a time, and stop then for the next run to go on.
    :param full: compare each slot, also where a check says that nothing is missing.
    :param watched: somebody may look at the run row: begin with chunks so small that its progress can be seen.
    """

    trigger: str
    days: int | None = None
    start: datetime | None = None
    end: datetime | None = None
    template_id: int | None = None
    group: str | None = None
    dry_run: bool = False
    progress: Callable[[int, int], None] | None = None
    watched: bool = False
    first_day: date | None = None
    end_day: date | None = None
    run_id: int | None = None
    until: float | None = None
    full: bool = False

    @classmethod
    def manual(cls, week: date | None = None, since: date | None = None, **options: Any) -> TopUpRequest:
        """Return what a person asks for: perhaps the week of a day, past days included, or all days since one."""
        if week is None:
            return cls("manual", first_day=since, **options)
        if since is not None:
            raise refusal("since", since, "either week or since")
        monday = week - timedelta(days=week.weekday())
        return cls("manual", first_day=monday, end_day=monday + timedelta(days=7), **options)

    def check(self, now: datetime) -> None:
        """Refuse what makes no sense, with an ``InvalidRequest``."""
        days: Any = self.days
        if days is not None and (
            isinstance(days, bool) or not isinstance(days, int) or not 1 <= days <= MAX_DAYS
        ):
            raise refusal("days", days, f"a whole number from 1 to {MAX_DAYS:,}")
        for name in ("start", "end"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, datetime) and value.tzinfo is not None):
                raise refusal(name, value, "an aware datetime (with a time zone)")
        if self.group is not None and not isinstance(self.group, str):
            raise refusal("group", self.group, "a text")
        self._check_days(now)
        if self.days is not None and self.end is not None:
            raise refusal("days", days, "either days or end, not both")
        if self.end is not None:
            start = self.start or now
            if self.end <= start:
                raise refusal("end", self.end, "a moment after the start")
            if self.end - start > timedelta(days=MAX_DAYS):
                raise refusal("end", self.end, f"at most {MAX_DAYS:,} days after the start")

    def _check_days(self, now: datetime) -> None:
        if self.first_day is None:
            return
        if (self.days, self.start, self.end) != (None,) * 3:
            raise refusal("first_day", self.first_day, "either days of the calendar, or days or start")
        # Somewhere it may be tomorrow already.
        end = self.end_day or now.astimezone(UTC).date() + timedelta(days=2)
        if self.first_day >= end:
            raise refusal("first_day", self.first_day, "a day that is not in the future")
        if (end - self.first_day).days > MAX_DAYS:
            raise refusal("first_day", self.first_day, f"at most {MAX_DAYS:,} days")

    def covers_all(self, own_windows: Iterable[int | None], settings: Settings) -> bool:
        """Whether this fills every template's window at least, given the ``window_days`` of all that are active."""
        if (self.start, self.end, self.template_id, self.group, self.first_day) != (None,) * 5:
            return False
        return self.days is None or all(self.days >= (own or settings.window_days) for own in own_windows)

    @property
    def is_rolling(self) -> bool:
        """Whether it is about all templates, in the windows that they have by themselves."""
        named = (self.days, self.start, self.end, self.template_id, self.group, self.first_day)
        return named == (None,) * 6

    def backfills(self, now: datetime) -> bool:
        """Whether past slots are wanted too."""
        return self.first_day is not None or (self.start is not None and self.start < now)

    @property
    def begins_now(self) -> bool:
        """Whether nobody said where to begin: then the past of templates that keep their history is wanted too."""
        return self.start is None and self.first_day is None

    def earliest(self, specs: list[TemplateSpec], now: datetime, settings: Settings) -> datetime | None:
        """Return where the first of the windows begins, if they do not begin by themselves."""
        if self.first_day is not None:
            return min((self.window(spec, now, settings).start for spec in specs), default=None)
        return self.start

    def window(self, spec: TemplateSpec, now: datetime, settings: Settings) -> Window:
        """Return the window of one template."""
        if self.first_day is not None:
            zone = ZoneInfo(spec.timezone)
            end_day = self.end_day or now.astimezone(zone).date() + timedelta(days=1)
            return Window.local_days(min(self.first_day, end_day), end_day, zone)
        start, end = self.start and self.start.astimezone(UTC), self.end and self.end.astimezone(UTC)
        if start is not None and end is None and self.days is not None:
            end = start + timedelta(days=self.days)
        if self.days is None:
            rolling = planning.window_of(spec, now, settings.window_days, settings.align)
        else:
            rolling = planning.rolling_window(spec, now, self.days, settings.align)
        return Window(start or rolling.start, end or rolling.end)

    def specs(self, work: Work, unreadable: Unreadable | None = None) -> list[TemplateSpec]:
        """Return the active templates that are asked for; ``unreadable`` is told of others, as in ``load_specs``.

        :raises TemplateNotFound: if a person asks for a template or group that does not exist. One that was deleted
            before its top-up began is nothing to do.
        """
        self.check_names(work)
        specs = load_specs(work, *self.asked_for(work), unreadable=unreadable)
        return [spec for spec in specs if spec.active]

    def check_names(self, work: Work) -> None:
        """Refuse a template or group of a person that does not exist, with ``TemplateNotFound``."""
        named = self.template_id is not None and self.trigger == "manual"
        if not named and self.group is None:
            return
        if work.session.scalar(select(work.models.Template.id).where(*self.asked_for(work)).limit(1)) is None:
            raise no_group(self.group) if self.group is not None else no_template(self.template_id)

    def asked_for(self, work: Work) -> list[ColumnElement[bool]]:
        """Return, in SQL, which templates are asked for, active or not."""
        cls, found = work.models.Template, list[ColumnElement[bool]]()
        if self.template_id is not None:
            own = select(cls.series_id).where(cls.id == self.template_id).scalar_subquery()
            found.append(cls.series_id == own)
        if self.group is not None:
            found.append(cls.group == self.group)
        return found
