"""Templates: find them, make them, change them, end them."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

from pydantic import Field

from flask_rollingslots.errors import TemplateNotFound
from flask_rollingslots.searching import Search, find_template, search_templates
from flask_rollingslots.values import local_midnight

from .access import Needs
from .answers import TemplateAnswer, TemplatePage, template_answer
from .fields import Group, MomentOrDay, QueryFlag, QueryNumber, Strict
from .operations import Answer, Call, Operations, read_id
from .paging import number_of, page
from .problems import fault, invalid

if TYPE_CHECKING:
    from flask_rollingslots.models import TemplateMixin

operations = Operations("templates")
_LONGEST_SEARCH = timedelta(days=3660)


class TemplatesQuery(Strict):
    """Which templates."""

    q: Annotated[
        str | None, Field(max_length=200, description="Part of the name, the group or the rule.")
    ] = None
    group: Group | None = None
    active: QueryFlag | None = None
    from_: Annotated[
        MomentOrDay | None, Field(alias="from", description="With to: only series with a slot in this span.")
    ] = None
    to: MomentOrDay | None = None
    limit: Annotated[QueryNumber, Field(ge=1, le=500)] = 100
    cursor: Annotated[str | None, Field(max_length=100)] = None


@operations("GET", "/templates", Needs.READ, {200: TemplatePage}, query=TemplatesQuery)
def list_templates(call: Call) -> Answer:
    """List or search templates.

    With ``from`` and ``to`` only series with a stored or promised slot in that span are found: one that never ends is
    found in any future span.
    """
    query, state = call.query, call.state
    zone = ZoneInfo(state.settings.timezone)
    start, end = instant(query.from_, zone), instant(query.to, zone)
    check_span("from", query.from_, start, "to", query.to, end, _LONGEST_SEARCH)
    wanted = Search(query.q, query.group, query.active, start, end)
    after = number_of(query.cursor) or 0
    found = search_templates(state.db.session(), state.models, state.clock(), wanted, after)
    shown = call.grant.visible(found)
    more = len(shown) > query.limit
    shown = shown[: query.limit]
    return Answer(page([template_answer(each) for each in shown], str(shown[-1].id) if more else None))


@operations("GET", "/templates/<template_id>", Needs.READ, {200: TemplateAnswer})
def get_template(call: Call) -> Answer:
    """Return one template; its ETag is its revision."""
    return one_template(template_of(call, "read"))


def one_template(template: TemplateMixin, status: int = 200, location: str | None = None) -> Answer:
    """Return the answer that is one template."""
    headers = {"ETag": f'"{template.revision}"'} if template.revision else {}
    return Answer(template_answer(template), status, location, headers)


def template_of(call: Call, action: str) -> TemplateMixin:
    """Return the template in the address, if the sender may do this with it.

    :raises TemplateNotFound: if there is none, or the sender may not know of it.
    """
    number = read_id(call.path["template_id"], TemplateNotFound)
    found = find_template(call.state.db.session(), call.state.models, number)
    call.grant.require(action, found)
    return found


def instant(value: date | datetime | None, zone: ZoneInfo) -> datetime | None:
    """Return an instant; a day means its first moment in a zone."""
    if value is None or isinstance(value, datetime):
        return value
    return local_midnight(value, zone)


def check_span(
    first: str,
    given_first: object,
    start: datetime | None,
    last: str,
    given_last: object,
    end: datetime | None,
    longest: timedelta,
) -> None:
    """Refuse half a span, one that ends before it begins, and one that is too long.

    :raises Problem: 422.
    """
    if (start is None) != (end is None):
        name = last if end is None else first
        raise invalid([fault(name, None, f"{first} and {last} together")])
    if start is not None and end is not None and end < start:
        raise invalid([fault(last, given_last, f"a moment not before {first}")])
    if start is not None and end is not None and end - start > longest:
        raise invalid([fault(last, given_last, f"at most {longest.days} days after {first}")])
