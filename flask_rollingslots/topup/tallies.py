"""The counts of one run, template by template; of very many, only those in which something happened."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..values import TALLIED, Report, Tally

#: A report names so many templates at most, those with an error aside: a million of them would fill the memory.
MOST_NAMED = 10_000


def is_eventful(tally: Tally) -> bool:
    """Whether anything happened in a template, or a group."""
    happened = tally.created or tally.updated or tally.removed or tally.kept_booked
    return bool(happened or tally.error)


class Tallies:
    """Gathers what a report says of templates, groups and all."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._groups: dict[int, str] = {}
        #: Of templates that are not named, by group.
        self._others: dict[str | None, Tally] = {}

    def of(self, template_id: int, name: str) -> Tally:
        """Return the counts of a template."""
        return self._report.templates.setdefault(template_id, Tally(name))

    def belong(self, groups: Mapping[int, str | None]) -> None:
        """Note the groups of templates, by id."""
        self._groups.update((number, group) for number, group in groups.items() if group is not None)

    def skip(self, reasons: Mapping[str, int]) -> None:
        """Count occurrences that are left out, by reason."""
        skipped = self._report.skipped
        for reason, number in reasons.items():
            skipped[reason] = skipped.get(reason, 0) + number

    def thin_out(self, asked_for: Collection[int] = ()) -> None:
        """Name no more templates than fit: first those go in which nothing happened, then the last; no error goes.

        :param asked_for: ids of templates that stay whatever happened in them.
        """
        named = self._report.templates
        if len(named) <= MOST_NAMED:
            return
        may_go = [number for number, tally in named.items() if not tally.error and number not in asked_for]
        quiet = [number for number in may_go if not is_eventful(named[number])]
        self._fold(quiet)
        if len(named) > MOST_NAMED:
            gone = set(quiet)
            eventful = [number for number in may_go if number not in gone]
            self._fold(eventful[MOST_NAMED - len(named) :])

    def _fold(self, template_ids: Collection[int]) -> None:
        for number in template_ids:
            tally, group = self._report.templates.pop(number), self._groups.pop(number, None)
            _add(self._others.setdefault(group, Tally("")), tally)
        self._report.unnamed += len(template_ids)

    def sum_up(self) -> None:
        """Write the sums of groups, and of all, into the report; may be called again."""
        report = self._report
        all_of_them, report.groups = Tally(""), {}
        for group, tally in self._others.items():
            _add(all_of_them, tally)
            if group is not None:
                _add(report.groups.setdefault(group, Tally(group)), tally)
        for number, tally in report.templates.items():
            _add(all_of_them, tally)
            group = self._groups.get(number)
            if group is not None:
                _add(report.groups.setdefault(group, Tally(group)), tally)
        for name in TALLIED:
            setattr(report, name, getattr(all_of_them, name))


def _add(total: Tally, tally: Tally) -> None:
    total.created += tally.created
    total.existing += tally.existing
    total.updated += tally.updated
    total.removed += tally.removed
    total.kept_booked += tally.kept_booked
    total.expected += tally.expected
