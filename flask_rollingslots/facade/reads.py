"""Reading: slots, templates, runs and figures; and what other programs read, files, events and calendars."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from ..context import Work, id_of, id_or_none
from ..lazy import lazy
from ..models import BookingMixin, RunMixin, SlotMixin, TemplateMixin
from ..values import key_of
from .calls import Calls, Key, TemplateOrId, Text

if TYPE_CHECKING:
    from .. import browsing, feeds, health, statistics
    from ..booking import resources
    from ..browsing import SeriesEntry
    from ..feeds import Calendar, Exported, SecretFeed
    from ..health import Explanation
    from ..recurrence import dialects
    from ..series import templates
    from ..statistics import Stats
    from ..views import SlotView, TemplateView

    AnySlot = TypeVar("AnySlot", SlotMixin, SlotView)
else:
    browsing, feeds, health, statistics, resources, dialects, templates = lazy(
        ".browsing", ".feeds", ".health", ".statistics", ".booking.resources", ".recurrence.dialects",
        ".series.templates",
    )  # fmt: skip

Sees = Callable[[TemplateMixin], bool]
Shows = Callable[[TemplateMixin], Collection[str] | None]


class Reads(Calls):
    """The calls that show."""

    def between(
        self,
        start: datetime,
        end: datetime,
        template: TemplateOrId | None = None,
        group: Text = None,
        overlapping: bool = False,
        limit: int | None = None,
        sees: Sees = lambda template: True,
    ) -> list[SlotMixin]:
        """Return the slots with ``start <= starts_at < end``, sorted, stored and virtual ones merged.

        :param start: aware, like ``end``.
        :param template: its whole series.
        :param overlapping: also what began before ``start`` and is not over by then.
        :param limit: about so many are enough: all up to the start of the last one, which is where to go on.
        :param sees: says of a template whether it may be shown.
        :raises TooCostly: beyond ``ROLLINGSLOTS_EXPANSION_STEPS_MAX`` starts.
        """
        work, number = self._state.reading(), id_or_none(template)
        self.ensure(number)
        return self._healed(work, browsing.between(work, start, end, number, group, overlapping, limit, sees))

    def view(
        self,
        start: datetime,
        end: datetime,
        template: TemplateOrId | None = None,
        group: Text = None,
        overlapping: bool = False,
        limit: int | None = None,
        sees: Callable[[TemplateView], bool] = lambda template: True,
    ) -> list[SlotView]:
        """Return what :meth:`between` does, as frozen values that belong to no session: for pages, feeds and lists.

        One query for the slots and one for the templates, and a fraction of the time that rows take. ``state``,
        ``is_bookable`` and ``left`` are those of the moment of the call. This is what the database says: what the
        session changed is flushed first, as by any query, and what it has read is not asked.

        :param limit: about so many are enough: all up to the start of the last one, so that none is torn off beside it.
        :param sees: says of each template, as a value too, whether its slots are wanted.
        """
        work, number = self._state.reading(), id_or_none(template)
        self.ensure(number)
        return self._healed(work, browsing.view(work, start, end, number, group, overlapping, limit, sees))

    def upcoming(self, template: TemplateOrId, n: int = 5, after: datetime | None = None) -> list[SlotMixin]:
        """Return the next ``n`` slots that start after an aware moment (now by default).

        :raises InvalidRequest: if ``n`` is not between 1 and ``ROLLINGSLOTS_PREVIEW_MAX``.
        """
        work, number = self._state.reading(), id_of(template)
        self.ensure(number)
        return self._healed(work, browsing.upcoming(work, number, n, after))

    def ensure(self, template: TemplateOrId | None = None) -> None:
        """Let a top-up look at a template, or at all, if it was not looked at within the last hour.

        Costs nothing otherwise and never waits; the readers of this class call it by themselves.
        """
        topup, number = self._state.topup, id_or_none(template)
        topup.view(() if number is None else (number,))

    def _healed(self, work: Work, slots: list[AnySlot]) -> list[AnySlot]:
        if lacking := browsing.holes(work, slots):
            self._state.topup.hole(lacking)
        return slots

    def get(self, key: Key) -> SlotMixin:
        """Return the slot at a key, stored or virtual."""
        return browsing.get(self._state.reading(), key)

    def materialize(self, key: Key) -> SlotMixin:
        """Return the row at a key, and make it in the app's session if it is still virtual; idempotent.

        :raises SlotNotFound: if the rule has no such start, or a virtual slot has ended.
        """
        with resources.slot_row(self._state.writing(), key) as slot:
            return slot

    def preview_template(self, n: int = 5, after: datetime | None = None, **fields: Any) -> list[SlotMixin]:
        """Return the next ``n`` slots that a template with these fields would have; nothing is stored.

        :param fields: as for :meth:`create_template`, ``n`` and ``after`` as for :meth:`upcoming`. The slots are
            virtual and have no ``key`` yet.
        """
        work = self._state.reading()
        return browsing.preview(work, templates.draft(work, fields), n, after)

    def get_template(self, template: TemplateOrId) -> TemplateMixin:
        """Return a template by its id, active or not."""
        return browsing.find_template(self._state.reading(), id_of(template))

    def templates(
        self,
        q: str | None = None,
        group: str | None = None,
        active: bool | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        after: int = 0,
        limit: int | None = None,
    ) -> list[TemplateMixin]:
        """Return templates, by id; those above ``after``.

        :param q: a part of the name, the group or the rule; case and accents do not matter.
        :param start: aware, with ``end``: only of series with a stored or promised slot in that span.
        """
        work = self._state.reading()
        return list(browsing.search(work, q, group, active, start, end, after, limit))

    def series(
        self,
        q: str | None = None,
        group: str | None = None,
        active: bool | None = None,
        limit: int = 200,
        after: int = 0,
    ) -> list[SeriesEntry]:
        """Return one entry for each series, by its id: its segment that holds now, its last one, whether it is over.

        :param q: a part of the name, the group or the rule; case and accents do not matter.
        :param limit: at most so many, 1 to 1,000.
        :param after: only those with a greater ``series_id``: that of the last entry gives the next page.
        """
        return browsing.series(self._state.reading(), q, group, active, limit, after)

    def segments(self, key: Key) -> list[TemplateMixin]:
        """Return the templates of the series that a slot belongs to, active or not, in order."""
        return browsing.segments_of(self._state.reading(), key_of(key))

    def get_booking(self, booking: BookingMixin | int | str) -> BookingMixin:
        """Return a booking, live or not, by its id, or by its token: then the newest, if it was moved."""
        return browsing.find_booking(self._state.reading(), getattr(booking, "id", booking))

    def history(self, booking: BookingMixin | int) -> list[BookingMixin]:
        """Return a booking with those from which it moved and those to which, the oldest first; the token is one."""
        return browsing.history(self._state.reading(), getattr(booking, "id", booking))

    def bookings(
        self,
        who: Text = None,
        slot: Key | None = None,
        template: TemplateOrId | None = None,
        group: Text = None,
        start: datetime | None = None,
        end: datetime | None = None,
        live: bool = True,
        limit: int = 200,
        *,
        waiting: bool = False,
        after: BookingMixin | int | None = None,
        sees: Sees | None = None,
    ) -> list[BookingMixin]:
        """Return bookings by the start of their slots, then id, with slot and template; one query.

        A person's bookings, who comes to a slot (none if it is virtual), a day's list for the door.

        :param template: those of its whole series.
        :param start: aware, like ``end``: of slots with ``start <= starts_at < end``.
        :param live: only those that take places: booked, or held and not expired. ``False``: all there ever were.
        :param limit: at most so many, 1 to 1,000.
        :param waiting: those that wait for places too, until the slot starts or is cancelled.
        :param after: a booking: only those behind it. The last one of a page gives the next page.
        :param sees: says of a template whether its bookings may be shown.
        """
        key, number = None if slot is None else key_of(slot), id_or_none(template)
        asked = browsing.BookingsAsked(who, key, number, group, start, end, live, waiting, limit, after)
        return browsing.bookings(self._state.reading(), asked, sees)

    def reminders(self, since: datetime, until: datetime | None = None) -> list[SlotMixin]:
        """Return the booked slots whose ``reminder_at`` lies after ``since`` and not after ``until``, by start.

        Ask with the last ``until`` as ``since``: nobody is then reminded twice or forgotten. Both are aware.
        """
        return browsing.due_reminders(self._state.reading(), since, until)

    def read_recurrence(
        self, recurrence: Any, dtstart: date | None = None, timezone: str | None = None
    ) -> list[dict[str, Any]]:
        """Return the fields that a recurrence as JSON means: one dict, or of a list one for each template it needs.

        :param dtstart: naive, or a day; by default the ``start_date`` in it. The default zone is the app's.
        """
        return dialects.template_fields(
            recurrence, dtstart=dtstart, timezone=timezone or self.settings.timezone
        )

    def get_run(self, run: int) -> RunMixin:
        """Return a recorded top-up by its id; ``RunNotFound`` if there is none."""
        return browsing.find_run(self._state.reading(), run)

    def runs(
        self, template: TemplateOrId | None = None, limit: int = 50, before: int | None = None
    ) -> list[RunMixin]:
        """Return the recorded top-ups, the ``limit`` newest first; of one template: those that touched it.

        ``run.results`` holds the counts of each template and group in which something happened. ``before`` is an id.
        """
        return browsing.runs(self._state.reading(), id_or_none(template), limit, before)

    def stats(
        self,
        template: TemplateOrId | None = None,
        group: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Stats:
        """Count the stored slots by template and group, by weekday and hour; three queries.

        :param template: its whole series.
        :param start: aware, like ``end``; only slots that start within.
        """
        return statistics.gather(self._state.reading(), id_or_none(template), group, start, end)

    def explain(self, template: TemplateOrId, moment: datetime) -> Explanation:
        """Say why a slot of a template's series starts, or does not, at an aware moment: a code and a sentence."""
        return health.explain(self._state.reading(), id_of(template), moment)

    def events(
        self,
        start: str,
        end: str,
        timezone: str | None = None,
        floating: bool = False,
        template: TemplateOrId | None = None,
        group: str | None = None,
        sees: Sees = lambda template: True,
        shows: Shows = lambda template: None,
        reminders: bool = True,
    ) -> list[dict[str, Any]]:
        """Return slots and reminders as events for FullCalendar or EventCalendar.

        :param start: ISO 8601, like ``end``; without an offset: by the clock of ``timezone``, or else of each template.
        :param timezone: whose clock the answer is written in: an IANA name, ``UTC`` or ``local``.
        :param floating: write times without offset.
        :param sees: says of a template whether it may be shown.
        :param shows: returns which keys of its ``data``, and own columns, may be shown; ``None``: all.
        :param reminders: ``False``: slots alone.
        """
        found: list[dict[str, Any]] = json.loads(
            "".join(self.events_json(start, end, timezone, floating, template, group, sees, shows, reminders))
        )
        return found

    def events_json(
        self,
        start: str,
        end: str,
        timezone: str | None = None,
        floating: bool = False,
        template: TemplateOrId | None = None,
        group: str | None = None,
        sees: Sees = lambda template: True,
        shows: Shows = lambda template: None,
        reminders: bool = True,
    ) -> list[str]:
        """Return what :meth:`events` does, as JSON in pieces: for an answer, which may send them one by one.

        The parameters are those of :meth:`events`. The pieces need neither session nor app.
        """
        work, number = self._state.reading(), id_or_none(template)
        span = feeds.read_span(start, end, timezone, floating)
        self.ensure(number)
        found, rows = feeds.slots_in(work, span, number, group, sees, reminders)
        told = lambda template: shows(rows[template.id])  # noqa: E731 (a callback of the app gets the row)
        return feeds.event_texts(self._healed(work, found), span, work.now, told, reminders)

    def calendar(
        self,
        template: TemplateOrId | None = None,
        group: str | None = None,
        host: str = "",
        sees: Sees = lambda template: True,
        shows: Shows = lambda template: None,
    ) -> Calendar:
        """Return a calendar to subscribe to (RFC 5545), from last month on.

        :param host: what makes UIDs unique where neither ``ROLLINGSLOTS_FEED_HOST`` nor ``SERVER_NAME`` is set.
        :param sees: says of a template whether it may be shown.
        :param shows: returns which keys of its ``data`` may be shown; ``None``: all.
        :raises ConfigError: if icalendar is not installed.
        """
        host = self._state.app.config.get("SERVER_NAME") or host
        return feeds.calendar(self._state.reading(), id_or_none(template), group, sees, host, shows)

    def export(
        self, template: TemplateOrId | None = None, group: str | None = None, form: str = "json"
    ) -> Exported:
        """Return templates, with what people decided about their slots, as the content of a file.

        :param form: ``json``, with all that import needs, or ``ics``: without inactive templates; public holidays,
            blackouts and what changes of the clocks do are written for the next two years.
        :raises ConfigError: for ``ics``, if icalendar is not installed.
        """
        return feeds.export_templates(self._state.reading(), id_or_none(template), group, form)

    def feed_url(self, group: str | None = None, expires_at: datetime | None = None) -> str:
        """Return the secret address of a group's calendar, for programs that can send no header.

        Whoever has it sees the slots of this group, and nothing else, until ``revoke_feed_url``. The same address
        each time: nothing of it is stored. Its host is ``ROLLINGSLOTS_FEED_HOST``, ``SERVER_NAME``, or one of
        ``TRUSTED_HOSTS`` that was asked.

        :param group: whose slots; ``None``: those of all templates.
        :param expires_at: aware: the address holds until then; ``None``: until it is withdrawn.
        :raises ConfigError: without a host, ``SECRET_KEY``, the HTTP API or icalendar.
        """
        browsing.check_group(group)
        feeds.icalendar_package()
        state = self._state
        secret = feeds.feed_secret(state.reading(), group, state.signing_keys, expires_at)
        return state.secret_address(secret)

    def feed_of(self, secret: str) -> SecretFeed | None:
        """Return what the secret in such an address stands for; ``None``: it is none, was withdrawn, or is over."""
        return feeds.feed_of(self._state.reading(), secret, self._state.signing_keys)

    def revoke_feed_url(self, group: str | None = None) -> None:
        """Withdraw the address that ``feed_url`` gave for a group; the app commits. All others go on."""
        browsing.check_group(group)
        feeds.revoke_feed_secret(self._state.writing(), group)
