"""Runs that exist from the commit of a new template on: ``waiting``, until a top-up takes them for its own.

Whatever covers the template first, a top-up of its own or one of everything, ends its waiting.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update

from ..context import Work
from ..models import Models, table_of
from ..values import TALLIED, Report, RunStatus

_WAITING = RunStatus.WAITING.value


def enter(connection: Connection, models: Models, template_ids: Iterable[int], now: datetime) -> None:
    """Write a run for each new template, into the transaction that adds it."""
    common = {"trigger": "edit", "status": _WAITING, "started_at": now}
    rows = [{**common, "template_id": template_id} for template_id in template_ids]
    connection.execute(insert(table_of(models.Run)), rows)


def adopt(work: Work, template_id: int, values: dict[str, Any]) -> int | None:
    """Let the run that waits for a template, if there is one, be the one that begins; return its id."""
    table = table_of(work.models.Run)
    mine = (table.c.template_id == template_id, table.c.status == _WAITING)
    run_id = work.session.scalar(select(func.min(table.c.id)).where(*mine))
    if run_id is None:
        return None
    adopted = update(table).where(table.c.id == run_id, *mine).values(**values)
    return run_id if work.session.execute(adopted).rowcount == 1 else None  # type: ignore[attr-defined]


def waiting_for(work: Work) -> set[int]:
    """Return the templates, by id, for which runs wait."""
    runs = work.models.Run
    found = work.session.scalars(select(runs.template_id).where(runs.status == _WAITING))
    return {number for number in found if number is not None}


def close(work: Work, report: Report, busy: Collection[int] = (), covers_all: bool = False) -> None:
    """Confirm the runs that wait for templates which another run has filled, or has nothing to fill of.

    :param busy: templates that were left out.
    :param covers_all: what this run did not look at is switched off.
    """
    table, templates = table_of(work.models.Run), table_of(work.models.Template)
    query = select(table.c.id, table.c.template_id, templates.c.active).where(table.c.status == _WAITING)
    query = query.outerjoin_from(table, templates, templates.c.id == table.c.template_id)
    span = report.window
    common = {"status": RunStatus.CONFIRMED.value, "finished_at": work.now}
    common |= {"window_start": span and span.start, "window_end": span and span.end}
    rows = []
    for run_id, template_id, active in work.session.execute(query):
        tally = report.templates.get(template_id)
        if tally is not None and not tally.error and template_id not in busy:
            counts = {name: getattr(tally, name) for name in TALLIED}
            results = {"templates": {str(template_id): tally.to_dict()}, "groups": {}, "processed": 1}
            done = {"done": tally.created, "total": tally.created, "results": results}
            rows.append({"run": run_id, **common, **counts, **done})
        elif tally is None and covers_all and not active:
            counts = dict.fromkeys((*TALLIED, "done", "total"), 0)
            rows.append({"run": run_id, **common, **counts, "results": {}})
    if rows:
        names = [name for name in rows[0] if name != "run"]
        values = {name: bindparam(f"new_{name}", type_=table.c[name].type) for name in names}
        ended = update(table).where(table.c.id == bindparam("run")).values(**values)
        given = [{"run": row["run"], **{f"new_{name}": row[name] for name in names}} for row in rows]
        work.session.connection().execute(ended, given)
