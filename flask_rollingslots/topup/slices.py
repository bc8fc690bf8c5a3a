"""Which templates a run sees to next, and of which of them checks say that nothing is missing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, inspect
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from ..context import Work
from ..errors import sentence
from ..filling.checks import Agreed, Brief, agreeing, forget_gone, load_briefs, record, row_of_check
from ..filling.screening import Screened
from ..models import table_of
from ..values import Window
from .request import TopUpRequest

log = logging.getLogger("flask_rollingslots")

#: So many templates are seen to at once; fewer while somebody waits for a page.
_TEMPLATES, _TEMPLATES_IN_A_REQUEST = 5_000, 500


class Place(NamedTuple):
    """Where a run is.

    :param after: the last template, by id, of the slices that are done.
    :param part: tells the work of the next slice from any other.
    :param seen: how much of that is done.
    """

    after: int = 0
    part: str = ""
    seen: int = 0


@dataclass
class Slices:
    """The templates of one run, slice by slice, with their checks.

    :param transaction: begins a short one of our own, under the lease.
    :param joins: the run is a part of the app's own transaction: then nothing is told by checks.
    """

    work: Work
    request: TopUpRequest
    transaction: Callable[[], AbstractContextManager[Any]]
    joins: bool = False
    _has_table: bool = True
    _rows: list[dict[str, Any]] = field(default_factory=list)
    #: What the templates of this slice said when it was loaded.
    _rules: dict[int, str] = field(default_factory=dict)
    _wrote: bool = False

    @property
    def size(self) -> int:
        """How many templates a slice has; the last one has fewer."""
        return _TEMPLATES if self.request.until is None else _TEMPLATES_IN_A_REQUEST

    @property
    def has_checks(self) -> bool:
        """Whether this run looks by checks: one of all templates, in the windows that they have today."""
        return self._has_table and not self.joins and self.request.is_rolling

    def load(self, asked: Sequence[ColumnElement[bool]], after: int) -> list[Brief]:
        """Return the next slice."""
        briefs = self._load(asked, after)
        self._rules = {brief.id: brief.rule for brief in briefs}
        return briefs

    def _load(self, asked: Sequence[ColumnElement[bool]], after: int) -> list[Brief]:
        try:
            return load_briefs(self.work, asked, after, self.size, self.has_checks)
        except (OperationalError, ProgrammingError):
            if not self.has_checks:
                raise
            self.work.session.rollback()
            if inspect(self.work.session.connection()).has_table(table_of(self.work.models.Check).name):
                raise
        log.debug("no checks: an older version made the database")
        self._has_table = False
        return load_briefs(self.work, asked, after, self.size, has_checks=False)

    def agreeing(self, briefs: list[Brief], window_of: Callable[[Brief], Window]) -> dict[int, Agreed]:
        """Return the templates that are stored as their checks say, by id."""
        if self.request.full or not self.has_checks:
            return {}
        # While somebody waits, a new day is planned like any other work, which can stop and go on.
        try:
            return agreeing(self.work, briefs, window_of, rolls=self.request.until is None)
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            log.debug("nothing is told by checks: %s", sentence(error))  # such as an index that is not there
            self.work.session.rollback()
            return {}

    def note(self, screened: Screened) -> None:
        """Note a template of which everything was compared; it gets a check if it is complete."""
        rule = self._rules.get(screened.spec.id)
        if rule is None or not self.has_checks or self.request.dry_run:
            return
        row = row_of_check(screened, rule)
        if row is not None:
            self._rows.append(row)

    def record(self) -> None:
        """Write the checks of a slice. They save work only: what the database says against them is no failure."""
        rows, self._rows = self._rows, []
        self._write(lambda: record(self.work, rows), bool(rows))

    def end(self) -> None:
        """Forget checks of templates that are gone, when others were written."""
        self._write(lambda: forget_gone(self.work), self._wrote)

    def _write(self, write: Callable[[], None], is_needed: bool) -> None:
        if not is_needed:
            return
        try:
            with self.transaction():
                write()
            self._wrote = True
        except DBAPIError as error:
            log.debug("checks not written: %s", sentence(error))
