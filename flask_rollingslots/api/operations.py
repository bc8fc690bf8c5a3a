"""The calls of the API: what each needs, takes and answers; routes and OpenAPI follow from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from flask import Response, current_app, request, url_for

from .access import GUARD, Grant, Guard, Needs
from .problems import Problem, fault, invalid
from .reading import read_body, read_query, refuse_body
from .scalars import Strict

if TYPE_CHECKING:
    from pydantic import BaseModel

    from flask_rollingslots.context import Work
    from flask_rollingslots.extension import AppState


class NoQuery(Strict):
    """No parameters."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler returns.

    :param body: plain data for JSON; ``None``: no body.
    :param location: the address of what was made, or of what goes on.
    """

    body: Any = None
    status: int = 200
    location: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        """Return the response."""
        text = "" if self.body is None else json.dumps(self.body)
        response = Response(text, self.status, mimetype=None if self.body is None else "application/json")
        if self.body is None:
            response.headers.pop("Content-Type", None)
        response.headers.update(self.headers)
        if self.location is not None:
            response.headers["Location"] = self.location
        return response


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read and checked.

    :param work: for looking at what is asked for; where something is decided, as it is on the primary.
    :param path: the variable parts of the address.
    :param query: an instance of the operation's query model.
    :param body: an instance of the operation's body model; ``None`` without one.
    """

    state: AppState
    grant: Grant
    work: Work
    path: dict[str, str]
    query: Any
    body: Any

    def header(self, name: str, longest: int = 200) -> str | None:
        """Return a header of the request.

        :raises Problem: 422 if it is longer than allowed, or empty.
        """
        value = request.headers.get(name)
        if value is not None and not (0 < len(value) <= longest and value.isascii() and value.isprintable()):
            raise invalid([fault(name, value, f"1 to {longest} printable ASCII characters")])
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
            raise invalid([fault("If-Match", text, 'a revision in quotes, such as "3", or *')])
        return int(number)


@dataclass(frozen=True)
class Operation:
    """One call of the API.

    :param path: as Flask writes it, below the prefix.
    :param answers: status -> model of the body (or a list of alternatives); a text: a body of this type, not JSON;
        ``None``: no body.
    :param refusals: statuses of problem documents that only this call has.
    :param headers: request headers that mean something here.
    """

    method: str
    path: str
    name: str
    needs: Needs
    handler: Callable[[Call], Answer]
    query: type[BaseModel]
    body: type[BaseModel] | None
    answers: Mapping[int, Any]
    refusals: tuple[int, ...]
    headers: tuple[str, ...]
    tag: str

    def view(self, **path: str) -> Response:
        """Answer a request."""
        state: AppState = current_app.extensions["rollingslots"]
        guard = (
            state.app.extensions.setdefault(GUARD, Guard(state.settings))
            if GUARD not in state.app.extensions
            else state.app.extensions[GUARD]
        )
        grant = guard.grant(self.needs, state.facade.authorizer)
        query = read_query(self.query)
        body = None
        if self.body is not None:
            body = read_body(self.body)
        elif self.method not in ("GET", "DELETE"):
            refuse_body()
        # What a function of the app left in its session is not ours to write, not even to read past it.
        with state.db.session.no_autoflush:
            work = state.writing() if self.needs is Needs.WRITE else state.reading()
            return self.handler(Call(state, grant, work, path, query, body)).response()


def guard_of(state: AppState) -> Guard:
    """Return the guard of an app."""
    found = state.app.extensions.get(GUARD)
    if not isinstance(found, Guard):
        found = state.app.extensions.setdefault(GUARD, Guard(state.settings))
    return found


class Operations:
    """Collects the calls of one module."""

    def __init__(self, tag: str) -> None:
        """Begin with none."""
        self.tag, self.found = tag, list[Operation]()

    def __call__(
        self,
        method: str,
        path: str,
        needs: Needs,
        answers: Mapping[int, Any],
        *,
        query: type[BaseModel] = NoQuery,
        body: type[BaseModel] | None = None,
        refusals: tuple[int, ...] = (),
        headers: tuple[str, ...] = (),
    ) -> Callable[[Callable[[Call], Answer]], Callable[[Call], Answer]]:
        """Add a call; its docstring is its documentation."""

        def add(handler: Callable[[Call], Answer]) -> Callable[[Call], Answer]:
            self.found.append(
                Operation(
                    method,
                    path,
                    handler.__name__,
                    needs,
                    handler,
                    query,
                    body,
                    answers,
                    refusals,
                    headers,
                    self.tag,
                )
            )
            return handler

        return add


def address(name: str, **values: Any) -> str:
    """Return the address (a path) of another call of this API."""
    return url_for(f".{name}", **values)


def status_text(status: int) -> str:
    """Return the standard phrase of a status."""
    return HTTPStatus(status).phrase


def read_id(text: str, error: type[Exception]) -> int:
    """Return the number in an address.

    :raises error: if it is none: nothing is there.
    """
    if text.isascii() and text.isdigit() and len(text) <= 18:
        return int(text)
    raise error(f"{text[:40]!r}: there is no such thing")


__all__ = [
    "Answer",
    "Call",
    "NoQuery",
    "Operation",
    "Operations",
    "Problem",
    "address",
    "read_id",
    "status_text",
]
