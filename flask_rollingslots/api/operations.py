"""The calls of the API: what each needs, takes and answers, read and checked; routes and OpenAPI follow from it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import urlencode

from flask import Response, current_app, request
from pydantic import BaseModel, ValidationError

from ..errors import TRIES_OF_A_DOOR, RollingSlotsError, SlotNotFound, StaleEdit, again_if_lost, nearest
from ..facade import RollingSlots, current_slots
from ..models import OwnField, SlotMixin, TemplateMixin
from ..settings import MAX_ANSWER_DATA, MAX_READ_STEPS
from ..values import Scope
from .access import GUARD, Grant, Guard, Needs
from .answers import Answered, Shown, View
from .bodies import Strict
from .problems import Problem, fault, invalid, unprocessable

#: The header that carries the revision which a person saw.
IF_MATCH = ("If-Match",)
MAX_BODY = 65_536
MAX_DEPTH = 32
MAX_KEY = 200
MAX_TEXT = 10_000
_MAX_NUMBER = 2**63
Handler = Callable[["Call"], Response]


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read and checked.

    :param slots: what does it. Where something is decided, it looks at the primary.
    :param path: the variable parts of the address.
    :param query: an instance of the operation's model, like ``body``, which is ``None`` without one.
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

    @contextmanager
    def transaction(self, dry_run: bool = False, apart: bool = False) -> Iterator[RollingSlots]:
        """Give a transaction in which the sender acts, see ``RollingSlots.transaction``.

        :raises StaleEdit: if a series that the sender may edit became somebody else's meanwhile.
        """
        grant = self.grant
        with self.slots.transaction(dry_run, grant.who, apart, "http") as slots:
            yield slots
            if grant.decide is not None and grant.edited is not None:
                for segment in slots.segments(grant.edited):
                    if not grant.may("edit", segment):
                        raise StaleEdit

    def scope(self) -> Scope:
        """Return the scope, said in the query or in the body (422 if in both, differently); one slot by default."""
        texts = (getattr(part, "scope", None) for part in (self.query, self.body))
        found = [Scope(text) for text in texts if text is not None]
        if len(set(found)) > 1:
            raise invalid("scope", found[1].value, "the same scope in query and body, or one of them")
        return found[0] if found else Scope.THIS

    def header(self, name: str, longest: int = 200) -> str | None:
        """Return a header of the request; 422 if it is longer than allowed, or empty."""
        value = request.headers.get(name)
        if value is not None and not (0 < len(value) <= longest and value.isascii() and value.isprintable()):
            raise invalid(name, value, f"1 to {longest} printable ASCII characters")
        return value

    def revision(self) -> int | None:
        """Return the revision in ``If-Match`` (422 if it is none); ``None`` for any."""
        text = self.header("If-Match")
        if text is None or text == "*":
            return None
        number = text.removeprefix("W/").strip('"')
        if not (number.isdigit() and len(number) <= 9):
            raise invalid("If-Match", text, 'a revision in quotes, such as "3", or *')
        return int(number)

    def number(self, name: str, missing: type[RollingSlotsError]) -> int:
        """Return the id in the address; what is no id is missing, too."""
        text = self.path[name]
        if text.isascii() and text.isdigit() and len(text) <= 18 and int(text):
            return int(text)
        raise missing(f"{text[:40]!r}: there is no such thing")

    def slot(self, key: str) -> SlotMixin | None:
        """Return the slot in question for a callback that asks for it; ``None``: no such callback or slot."""
        if self.grant.decide is None or "slot" not in self.grant.decide.accepts:
            return None
        with suppress(SlotNotFound):
            return self.slots.get(key)
        return None

    def template(self, number: int, action: str = "read") -> TemplateMixin:
        """Return a template, if the sender may do this with it; not found if the sender may not know of it."""
        found = self.slots.get_template(number)
        self.grant.require(action, found)
        return found

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
        shown = Shown(found, **{"dry_run": self.dry_run, **said})
        body = model.model_validate(shown, context=View(self.slots.now(), self.grant.shown_data, {}))
        text = json.dumps(body.model_dump(by_alias=True, exclude_unset=True))
        response = Response(text, status, mimetype="application/json")
        if revision is not None:
            response.headers["ETag"] = f'"{revision}"'
        if location is not None:
            response.headers["Location"] = location
        return response

    def fitting(self, found: Sequence[Any]) -> Sequence[Any]:
        """Return the first of some slots or templates, at least one: as many as one answer may hold the data of."""
        sizes, total = dict[tuple[int, Any], int](), 0
        for number, each in enumerate(found):
            is_slot = hasattr(each, "template")
            keys = self.grant.shown_data(each.template if is_slot else each)
            if keys is not None and not keys:  # nothing of it is shown, nor read
                continue
            data = (each.rolling_data if is_slot else each.data) or {}
            mark = (id(data), keys)  # what slots of a template share is looked at once
            if mark not in sizes:
                told = data if keys is None else {key: data[key] for key in keys if key in data}
                sizes[mark] = len(json.dumps(told, default=str))
            total += sizes[mark]
            if number and total > MAX_ANSWER_DATA:
                return found[:number]
        return found

    def page(
        self, model: type[Answered], items: Sequence[Any], cursor: object | None, **said: Any
    ) -> Response:
        """Return one page of a list; without a cursor, where the next one begins, it is the last."""
        following = None
        if cursor is not None:
            question = urlencode({**request.args.to_dict(), "cursor": cursor})
            following = f"{request.script_root}{request.path}?{question}"
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
    handler: Handler
    tag: str
    needs: Needs
    query: type[BaseModel] = Strict
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
        own = own_columns(slots, getattr(self.body, "own_of", ()))
        body = None if self.method in ("GET", "DELETE") else read_body(self.body, own)
        call = Call(slots, grant, path, query, body)
        if self.needs is not Needs.WRITE:
            # What a function of the app left in its session is not ours to write, not even to read past it.
            with slots.looking_at_most(MAX_READ_STEPS), slots.db.session.no_autoflush:
                return self.handler(call)

        def decide() -> Response:
            with slots.looking():
                return self.handler(call)

        return again_if_lost(decide, TRIES_OF_A_DOOR)


class Operations(list[Operation]):
    """Calls, in the order of the documentation."""

    def add(
        self, method: str, path: str, answers: Any, needs: Needs | None = None, **more: Any
    ) -> Callable[[Handler], Handler]:
        """Return a decorator that adds a call.

        :param answers: as of an :class:`Operation`, or the one model of 200.
        :param needs: by default what reads may be read, and everything else needs the right to write.
        :param more: other fields of the :class:`Operation`.
        """
        known = answers if isinstance(answers, Mapping) else {200: answers}
        needs = needs or (Needs.READ if method == "GET" else Needs.WRITE)

        def add(handler: Handler) -> Handler:
            made = Operation(method=method, path=path, answers=known, handler=handler, needs=needs, **more)
            self.append(made)
            return handler

        return add


# -- strict JSON of at most 64 KB, and queries -----------------------------------------------------------------


def own_columns(slots: RollingSlots, kinds: Sequence[str]) -> dict[str, OwnField]:
    """Return the app's own columns by their names in JSON.

    :param kinds: whose: ``template``, ``slot``.
    """
    own = slots.Template.rolling_models.own if kinds else None
    return {field.key: field for kind in kinds for field in getattr(own, kind).values()}


def read_body(model: type[BaseModel] | None, own: Mapping[str, OwnField]) -> BaseModel | None:
    """Return the body as a model; no body is an empty object, and nothing else is right without a model.

    :param own: the app's own columns by their names in JSON, which no model knows.
    """
    found = _json(_bytes())
    if model is None and found:
        raise invalid("body", None, "no body, or an empty object")
    if model is None:
        return None
    values = {own[key].name: _own_value(key, found.pop(key), own[key]) for key in own if key in found}
    body = _checked(model, found, tuple(own))
    if isinstance(body, Strict):
        body.own.update(values)
    return body


def _own_value(key: str, value: Any, field: OwnField) -> Any:
    if value is None and field.nullable:
        return None
    try:
        found = field.kind.read(key, value)
    except ValueError as error:
        raise unprocessable([fault(key, value, str(error))]) from None
    if field.kind.fault(found) is not None:
        raise unprocessable([fault(key, value, field.kind.in_json)])
    return found


def read_query(model: type[BaseModel]) -> BaseModel:
    """Return the query as a model; each parameter at most once."""
    given: dict[str, Any] = {}
    for name, values in request.args.lists():
        if len(values) > 1:
            raise invalid(name[:80], values[1], "each parameter at most once")
        _check_text(values[0])
        given[name] = values[0]
    return _checked(model, given)


def _bytes() -> bytes:
    own = request.max_content_length
    request.max_content_length = MAX_BODY if own is None else min(own, MAX_BODY)
    body = request.get_data(cache=True)
    if body and not request.is_json:
        held = request.mimetype or None
        raise Problem("json_expected", f"Content-Type {held!r}: expected application/json")
    return body


def _json(body: bytes) -> Any:
    if not body:
        return {}
    try:
        found = json.loads(
            body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant, parse_int=_integer
        )
        _check(found, 0)
    except RecursionError:
        raise _bad(f"nested too deep: at most {MAX_DEPTH} levels") from None
    except UnicodeDecodeError:
        raise _bad("not UTF-8") from None
    except json.JSONDecodeError as error:
        raise _bad(f"{error.msg}, line {error.lineno}, column {error.colno}") from None
    except ValueError as error:
        raise _bad(str(error)) from None
    if not isinstance(found, dict):
        raise _bad("an object was expected")
    return found


def _bad(why: str) -> Problem:
    return Problem("invalid_json", f"the body is not the JSON that was expected: {why}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:80]!a} is there twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _integer(text: str) -> int:
    if len(text) > 20 or abs(int(text)) > _MAX_NUMBER:
        raise ValueError("a whole number is too large")
    return int(text)


def _check(value: Any, depth: int) -> None:
    """Refuse what databases cannot store, and what has no end."""
    if depth > MAX_DEPTH:
        raise ValueError(f"nested too deep: at most {MAX_DEPTH} levels")
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is too large")
    elif isinstance(value, list):
        for each in value:
            _check(each, depth + 1)
    elif isinstance(value, dict):
        for key, each in value.items():
            if len(key) > MAX_KEY:
                raise ValueError(f"a key is longer than {MAX_KEY} characters")
            _check_text(key)
            _check(each, depth + 1)


def _check_text(text: str) -> None:
    if len(text) > MAX_TEXT:
        raise invalid("text", text, f"texts of at most {MAX_TEXT:,} characters")
    if "\0" in text or any("\ud800" <= sign <= "\udfff" for sign in text):
        raise invalid("text", None, "no NUL and no halves of surrogate pairs: they cannot be stored")


def _checked(model: type[BaseModel], given: dict[str, Any], more: Sequence[str] = ()) -> BaseModel:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise unprocessable([_fault(model, one, more) for one in error.errors(include_url=False)]) from None


def _fault(model: type[BaseModel], error: Any, more: Sequence[str]) -> dict[str, Any]:
    place = ".".join(str(part) for part in error["loc"] if not _is_branch(part))[:80] or "body"
    if error["type"] == "extra_forbidden":
        known = [*(field.alias or name for name, field in model.model_fields.items()), *more]
        hint = nearest(str(error["loc"][-1]), known) if len(error["loc"]) == 1 else ""
        return fault(place, None, f"a known field.{hint}")  # what nobody asked for is not repeated
    if error["type"] == "missing":
        return fault(place, None, "a value: it is missing")
    text = str(error["msg"])
    for prefix in ("Value error, ", "Input should be ", "Assertion failed, "):
        text = text.removeprefix(prefix)
    return fault(place, error["input"], text)


def _is_branch(part: Any) -> bool:
    """Whether a part of a place names a branch of a union, which nobody wrote."""
    return (isinstance(part, str) and any(sign in part for sign in "[(-")) or part in ("str", "int")
