"""Reading requests: at most 64 KB of strict JSON, and queries, checked against a model."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn, TypeVar

from flask import request
from pydantic import BaseModel, ValidationError

from flask_rollingslots.errors import nearest

from .problems import Problem, fault, invalid, unprocessable

MAX_BODY = 65_536
MAX_DEPTH = 32
MAX_KEY = 200
MAX_TEXT = 10_000
_MAX_NUMBER = 2**63

M = TypeVar("M", bound=BaseModel)


def read_body(model: type[M] | None) -> M | None:
    """Return the body as a model; no body is an empty object, and nothing else is right without a model.

    :raises Problem: 400 if it is not JSON, 413 if it is too large, 415 if it is of another type, 422 if not valid.
    """
    found = _json(_bytes())
    if model is not None:
        return _checked(model, found)
    if found:
        raise invalid("body", None, "no body, or an empty object")
    return None


def read_query(model: type[M]) -> M:
    """Return the query as a model; each parameter at most once.

    :raises Problem: 422 if it is not valid.
    """
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


def _checked(model: type[M], given: dict[str, Any]) -> M:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise unprocessable([_fault(model, one) for one in error.errors(include_url=False)]) from None


def _fault(model: type[BaseModel], error: Any) -> dict[str, Any]:
    place = ".".join(str(part) for part in error["loc"] if not _is_branch(part))[:80] or "body"
    if error["type"] == "extra_forbidden":
        known = [field.alias or name for name, field in model.model_fields.items()]
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
