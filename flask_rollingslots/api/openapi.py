"""The API described: OpenAPI 3.1, made from the same operations and models that serve the requests."""

from __future__ import annotations

import json
import re
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from flask import Response, request
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from .access import Needs
from .answers import Answered, ProblemDocument
from .problems import CODES, MIME

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flask import Blueprint

    from .operations import Operation

_REF = "#/components/schemas/{model}"
_VARIABLE = re.compile(r"<([a-z_]+)>")
_PATHS = {
    "template_id": {"type": "integer", "minimum": 1, "maximum": 10**18 - 1},
    "booking_id": {"type": "integer", "minimum": 1, "maximum": 10**18 - 1},
    "run_id": {"type": "integer", "minimum": 1, "maximum": 10**18 - 1},
    "secret": {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,4000}$"},
    "key": {"type": "string", "pattern": "^[0-9]{1,18}@[0-9]{8}T[0-9]{4}$", "examples": ["7@20260105T1000"]},
}
_HEADERS = {
    "If-Match": (
        "The revision that the sender has seen, as in the ETag of the slot or template; another one: 409.",
        {"type": "string", "pattern": '^("[0-9]{1,9}"|[0-9]{1,9}|[*])$'},
    ),
    "Idempotency-Key": (
        "The same key, for the same person and request, returns the same booking.",
        {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[!-~]+$"},
    ),
}
_ABOUT = """Bookable slots that are always there.

Times with an offset are instants; times without one are wall-clock times in the template's zone. A slot is named by its
`key`, `<series id>@<YYYYMMDDTHHMM>` of its original start, for ever. Errors are problem documents (RFC 9457) whose
`code` is for machines: """


def add_openapi(blueprint: Blueprint, operations: Sequence[Operation]) -> None:
    """Serve the description at ``openapi.json``."""

    @cache
    def document() -> dict[str, Any]:
        return describe(operations)

    def openapi() -> Response:
        base = request.path.removesuffix("/openapi.json")
        found = {**document(), "servers": [{"url": request.script_root + base or "/"}]}
        return Response(json.dumps(found), mimetype="application/json")

    blueprint.add_url_rule("/openapi.json", "openapi", openapi)


def describe(operations: Sequence[Operation]) -> dict[str, Any]:
    """Return the OpenAPI document of some operations."""
    _, schemas = models_json_schema(
        [
            (model, "serialization" if issubclass(model, Answered) else "validation")
            for model in _models(operations)
        ],
        ref_template=_REF,
    )
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        path = _VARIABLE.sub(r"{\1}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _operation(operation)
    codes = ", ".join(f"`{code}` ({status})" for code, status in sorted(CODES.items()))
    return {
        "openapi": "3.1.0",
        "info": {"title": "Flask-RollingSlots", "version": "1", "description": f"{_ABOUT}{codes}."},
        "paths": paths,
        "components": {
            "schemas": schemas.get("$defs", {}),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in operations)],
    }


def _models(operations: Iterable[Operation]) -> list[type[BaseModel]]:
    found: dict[type[BaseModel], None] = {ProblemDocument: None}
    for operation in operations:
        if operation.body is not None:
            found[operation.body] = None
        for answer in operation.answers.values():
            found.update(dict.fromkeys(_alternatives(answer)))
    return list(found)


def _alternatives(answer: Any) -> list[type[BaseModel]]:
    """Return the models of a JSON body; text of another type has none."""
    if answer is None or isinstance(answer, str):
        return []
    return list(answer) if isinstance(answer, tuple) else [answer]


def _operation(operation: Operation) -> dict[str, Any]:
    text = (operation.handler.__doc__ or "").strip()
    summary, _, rest = text.partition("\n")
    found: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": summary,
        "parameters": [
            *_path_parameters(operation),
            *_query_parameters(operation),
            *_header_parameters(operation),
        ],
        "responses": _responses(operation),
    }
    if rest.strip():
        found["description"] = re.sub(r"\n\s+", "\n", rest.strip())
    if operation.body is not None:
        required = any(field.is_required() for field in operation.body.model_fields.values())
        schema = {"$ref": _REF.format(model=operation.body.__name__)}
        found["requestBody"] = {"required": required, "content": {"application/json": {"schema": schema}}}
    if operation.needs is Needs.WRITE:
        found["security"] = [{"bearer": []}]
    elif operation.needs is Needs.READ:
        found["security"] = [{}, {"bearer": []}]
    return found


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": _PATHS[name]}
        for name in _VARIABLE.findall(operation.path)
    ]


def _query_parameters(operation: Operation) -> list[dict[str, Any]]:
    schema = operation.query.model_json_schema(ref_template=_REF)
    found = []
    for name, each in schema.get("properties", {}).items():
        each.pop("title", None)
        each.pop("default", None)
        some = [one for one in each.pop("anyOf", []) if one.get("type") != "null"]
        if len(some) == 1:
            each = {**some[0], **each}
        text = each.pop("description", None)
        parameter = {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            "schema": each,
        }
        found.append(parameter | ({"description": text} if text else {}))
    return found


def _header_parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "header", "description": _HEADERS[name][0], "schema": _HEADERS[name][1]}
        for name in operation.headers
    ]


def _responses(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status, answer in operation.answers.items():
        found[str(status)] = {"description": HTTPStatus(status).phrase}
        refs = [{"$ref": _REF.format(model=model.__name__)} for model in _alternatives(answer)]
        if refs:
            schema = refs[0] if len(refs) == 1 else {"oneOf": refs}
            found[str(status)]["content"] = {"application/json": {"schema": schema}}
        if isinstance(answer, str):
            found[str(status)]["content"] = {answer: {"schema": {"type": "string"}}}
        if status in (201, 202):
            header = {"description": "The address of what was made.", "schema": {"type": "string"}}
            found[str(status)]["headers"] = {"Location": header}
    for status in refusals_of(operation):
        schema = {"$ref": _REF.format(model=ProblemDocument.__name__)}
        found[str(status)] = {"description": HTTPStatus(status).phrase, "content": {MIME: {"schema": schema}}}
    return found


def refusals_of(operation: Operation) -> list[int]:
    """Return the statuses of the problem documents that a call may answer."""
    found = {422, 429, *operation.refusals}
    if operation.needs is not Needs.NOTHING:
        found |= {401, 403}
    if "<" in operation.path:
        found.add(404)
    if operation.needs is Needs.WRITE:
        found |= {409, 413}
    if operation.method not in ("GET", "DELETE"):
        found |= {400, 413, 415}
    return sorted(found)
