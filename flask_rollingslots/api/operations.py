"""The calls of the API: what each needs, takes and answers; routes and OpenAPI follow from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from flask import Response, current_app, request
from pydantic import BaseModel

from flask_rollingslots.facade import current_slots
from flask_rollingslots.values import Scope

from .access import GUARD, Grant, Guard, Needs
from .answers import Answered, Shown
from .bodies import Strict
from .problems import invalid
from .request_body import read_body, read_query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flask_rollingslots.errors import RollingSlotsError
    from flask_rollingslots.facade import RollingSlots
    from flask_rollingslots.models import TemplateMixin

#: The header that carries the revision which a person saw.
IF_MATCH = ("If-Match",)


class NoQuery(Strict):
    """No parameters."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read and checked.

    :param slots: what does it. Where something is decided, it looks at the primary.
    :param path: the variable parts of the address.
    :param query: an instance of the operation's query model.
    :param body: an instance of the operation's body model; ``None`` without one.
    """

    slots: RollingSlots
    grant: Grant
    path: Mapping[str, str]
    query: Any
    body: Any

    @property
    def dry_run(self) -> bool:
        """Whether nothing is to be written, said in the query or in the body."""
        return any(getattr(part, "dry_run", False) for part in (self.query, self.body))

    def scope(self) -> Scope:
        """Return the scope, said in the query or in the body; one slot by default.

        :raises Problem: 422 if both say something, and not the same.
        """
        texts = (getattr(part, "scope", None) for part in (self.query, self.body))
        found = [Scope(text) for text in texts if text is not None]
        if len(set(found)) > 1:
            raise invalid("scope", found[1].value, "the same scope in query and body, or one of them")
        return found[0] if found else Scope.THIS

    def header(self, name: str, longest: int = 200) -> str | None:
        """Return a header of the request.

        :raises Problem: 422 if it is longer than allowed, or empty.
        """
        value = request.headers.get(name)
        if value is not None and not (0 < len(value) <= longest and value.isascii() and value.isprintable()):
            raise invalid(name, value, f"1 to {longest} printable ASCII characters")
        return value

    def revision(self) -> int | None:
        """Return the revision in ``If-Match``; ``None`` for any.

        :raises Problem: 422 if it is none.
        """
        text = self.header("If-Match")
        if text is None or text == "*":
            return None
        number = text.removeprefix("W/").strip('"')
        if not (number.isdigit() and len(number) <= 9):
            raise invalid("If-Match", text, 'a revision in quotes, such as "3", or *')
        return int(number)

    def number(self, name: str, missing: type[RollingSlotsError]) -> int:
        """Return the id in the address.

        :raises missing: if it is no id: nothing is there.
        """
        text = self.path[name]
        if text.isascii() and text.isdigit() and len(text) <= 18 and int(text):
            return int(text)
        raise missing(f"{text[:40]!r}: there is no such thing")

    def template(self, number: int, action: str = "read") -> TemplateMixin:
        """Return a template, if the sender may do this with it.

        :raises TemplateNotFound: if there is none, or the sender may not know of it.
        """
        found = self.slots.get_template(number)
        self.grant.require(action, found)
        return found

    def shown(self, found: Any, **said: Any) -> Shown:
        """Return an object as an answer to this call reads it.

        :param said: what it does not say itself.
        """
        return Shown(found, **{"dry_run": self.dry_run, **said})

    def answer(
        self,
        model: type[Answered],
        found: Any = None,
        status: int = 200,
        location: str | None = None,
        revision: int | None = None,
        **said: Any,
    ) -> Response:
        """Return the answer that shows an object; to be called while its session is there.

        :param location: the address of what was made, or of what goes on.
        :param revision: what ``If-Match`` may name; the ETag.
        :param said: what the object does not say itself; all, if there is none.
        """
        body = model.model_validate(self.shown(found, **said), context=self.slots.now())
        text = json.dumps(body.model_dump(by_alias=True, exclude_unset=True))
        response = Response(text, status, mimetype="application/json")
        if revision is not None:
            response.headers["ETag"] = f'"{revision}"'
        if location is not None:
            response.headers["Location"] = location
        return response

    def page(
        self, model: type[Answered], items: Sequence[Any], cursor: object | None, **said: Any
    ) -> Response:
        """Return one page of a list.

        :param cursor: where the next page begins; ``None``: this is the last one.
        """
        following = None
        if cursor is not None:
            # The same question, asked from there on.
            parameters = {**request.args.to_dict(), "cursor": cursor}
            following = f"{request.script_root}{request.path}?{urlencode(parameters)}"
        return self.answer(model, items=items, next=following, **said)


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One call of the API.

    :param path: as Flask writes it, below the prefix.
    :param handler: its docstring is the documentation of the call.
    :param answers: status -> model of the body (or a tuple of alternatives); a text: a body of this type, not JSON;
        ``None``: no body.
    :param refusals: statuses of problem documents that only this call has.
    :param headers: request headers that mean something here.
    """

    method: str
    path: str
    answers: Mapping[int, Any]
    handler: Callable[[Call], Response]
    tag: str
    needs: Needs
    query: type[BaseModel] = NoQuery
    body: type[BaseModel] | None = None
    refusals: tuple[int, ...] = ()
    headers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the handler."""
        return self.handler.__name__

    def view(self, **path: str) -> Response:
        """Answer a request."""
        slots, kept = current_slots(), current_app.extensions
        guard: Guard = kept.get(GUARD) or kept.setdefault(GUARD, Guard(slots.settings))
        grant = guard.grant(self.needs, slots.authorizer)
        query = read_query(self.query)
        body = None if self.method in ("GET", "DELETE") else read_body(self.body)
        # What a function of the app left in its session is not ours to write, not even to read past it.
        with slots.db.session.no_autoflush:
            if self.needs is Needs.WRITE:
                slots.read_primary()
            return self.handler(Call(slots, grant, path, query, body))


class Operations:
    """Collects the calls of one module."""

    def __init__(self, tag: str) -> None:
        """Begin with none."""
        self.tag, self.found = tag, list[Operation]()

    def __call__(
        self, method: str, path: str, answers: Any, needs: Needs | None = None, **more: Any
    ) -> Callable[[Callable[[Call], Response]], Callable[[Call], Response]]:
        """Add a call.

        :param answers: as of an :class:`Operation`, or the one model of 200.
        :param needs: by default what reads may be read, and everything else needs the right to write.
        :param more: other fields of the :class:`Operation`.
        """
        known = answers if isinstance(answers, Mapping) else {200: answers}
        needs = needs or (Needs.READ if method == "GET" else Needs.WRITE)

        def add(handler: Callable[[Call], Response]) -> Callable[[Call], Response]:
            operation = Operation(
                method=method, path=path, answers=known, handler=handler, tag=self.tag, needs=needs, **more
            )
            self.found.append(operation)
            return handler

        return add


def no_content() -> Response:
    """Return the answer without a body."""
    response = Response(status=204)
    response.headers.pop("Content-Type")
    return response
