"""The blueprint: each call as a route and in the OpenAPI document, each refusal as a problem, nothing of the app's."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, current_app, request
from flask.blueprints import BlueprintSetupState
from flask.globals import request_ctx
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, default_exceptions

from ..errors import NotRegistered, RollingSlotsError
from ..facade import RollingSlots, current_slots
from .access import Needs
from .answers import Answered, ProblemDocument, SlotAnswer, TemplateAnswer
from .bodies import SlotChange, TemplateBody, TemplateChange
from .booking_calls import calls
from .operations import Operation, own_columns
from .problems import CODES, MIME, Problem, on_any_error, on_http_error, on_library_error

NAME = "rollingslots_api"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def make_blueprint() -> Blueprint:
    """Return the HTTP API, to be registered with one or several apps."""
    blueprint = Blueprint(NAME, __name__)
    blueprint.record(_add_calls)
    blueprint.add_url_rule("/openapi.json", "openapi", _openapi)
    blueprint.register_error_handler(Problem, Problem.response)
    blueprint.register_error_handler(RollingSlotsError, on_library_error)
    for status in default_exceptions:
        # Each by its number: a page of the app's own for a status would win over a handler for all of them.
        blueprint.register_error_handler(status, on_http_error)
    blueprint.register_error_handler(HTTPException, on_http_error)
    blueprint.register_error_handler(Exception, on_any_error)
    blueprint.after_request(_protect)
    blueprint.record(_catch_the_rest)
    return blueprint


def _add_calls(state: BlueprintSetupState) -> None:
    # Below a prefix the rule for all other methods answers OPTIONS: Flask would find no method with it.
    options = {"provide_automatic_options": not state.url_prefix}
    for each in calls:
        state.add_url_rule(each.path, each.name, each.view, methods=[each.method], **options)


def _protect(response: Response) -> Response:
    """Keep answers out of shared caches, and browsers from guessing what they are."""
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    # Always, for a difference would tell whether a callback was asked, so whether there was something to hide.
    response.vary.update(("Authorization", "Cookie"))
    return response


def _catch_the_rest(state: BlueprintSetupState) -> None:
    """Answer every other address and method below the prefix, for routing errors never reach a blueprint.

    Without a prefix the rest is the app's own.
    """
    prefix = (state.url_prefix or "").rstrip("/")
    if not prefix:
        return
    app = state.app
    endpoint = ".".join(filter(None, (state.name_prefix, state.name, "nowhere")))
    for path in (prefix, f"{prefix}/", f"{prefix}/<path:rest>"):
        rule = app.url_rule_class(path, endpoint=endpoint, methods=None, subdomain=state.subdomain)
        rule.merge_slashes = False
        app.url_map.add(rule)
    app.view_functions[endpoint] = _nowhere


def _nowhere(**_: Any) -> Any:
    allowed = [method for method in _METHODS if _is_there(request_ctx.url_adapter, method)]
    if not allowed:
        raise NotFound
    if "OPTIONS" not in allowed:
        allowed.append("OPTIONS")
    if request.method == "OPTIONS":
        return current_app.response_class(headers={"Allow": ", ".join(allowed)})
    raise MethodNotAllowed(valid_methods=allowed)


def _is_there(adapter: Any, method: str) -> bool:
    try:
        endpoint, _ = adapter.match(method=method)
    except HTTPException:
        return False
    return bool(endpoint != request.endpoint)


# -- OpenAPI 3.1 -----------------------------------------------------------------------------------------------

_REF = "#/components/schemas/{model}"
_VARIABLE = re.compile(r"<([a-z_]+)>")
_ID = {"type": "integer", "minimum": 1, "maximum": 10**18 - 1}
_PATHS = {
    "template_id": _ID,
    "booking_id": {
        "type": "string",
        "pattern": "^[A-Za-z0-9_-]{1,43}$",
        "description": "Its id, or its token.",
        "examples": ["1"],
    },
    "run_id": _ID,
    "secret": {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,4000}$"},
    "key": {"type": "string", "pattern": "^[0-9]{1,18}@[0-9]{8}T[0-9]{4}$", "examples": ["7@20260105T1000"]},
}
_HEADERS: dict[str, dict[str, Any]] = {
    "If-Match": {
        "description": (
            "The revision that the sender has seen, as in the ETag of the slot or template; another one: 409."
        ),
        "schema": {"type": "string", "pattern": '^("[0-9]{1,9}"|[0-9]{1,9}|[*])$'},
    },
    "Idempotency-Key": {
        "description": "The same key, for the same person and request, returns the same booking.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[!-~]+$"},
    },
}
_TOKEN: list[dict[str, list[str]]] = [{"bearer": []}]
_OR_NONE: list[dict[str, list[str]]] = [{}, {"bearer": []}]
_SECURITY = {Needs.STATUS: _OR_NONE, Needs.READ: _TOKEN, Needs.WRITE: _TOKEN}
#: What has the app's own columns too: whose, and whether it is an answer.
_WITH_OWN: tuple[tuple[type[BaseModel], tuple[str, ...], bool], ...] = (
    *((body, body.own_of, False) for body in (TemplateBody, TemplateChange, SlotChange)),
    (TemplateAnswer, ("template",), True),
    (SlotAnswer, ("slot",), True),
)
_ABOUT = """Bookable slots that are always there.

Times with an offset are instants; times without one are wall-clock times in the template's zone. A slot is named by its
`key`, `<series id>@<YYYYMMDDTHHMM>` of its original start, for ever. Errors are problem documents (RFC 9457) whose
`code` is for machines: """


def _openapi() -> Response:
    base = request.path.removesuffix("/openapi.json")
    found = {**describe(), "servers": [{"url": request.script_root + base or "/"}]}
    with suppress(NotRegistered):  # the document alone needs no app with slots
        slots = current_slots()
        found["components"] = _with_own(found["components"], slots)
        if slots.authorizer is not None or slots.settings.public_reads:
            found["paths"] = _with_open_reads(found["paths"], is_all=slots.authorizer is not None)
    return Response(json.dumps(found), mimetype="application/json")


@cache
def describe() -> dict[str, Any]:
    """Return the OpenAPI document of all calls."""
    bodies = [each.body for each in calls if each.body is not None]
    answers = [model for each in calls for answer in each.answers.values() for model in _models(answer)]
    models: list[type[BaseModel]] = list(dict.fromkeys([ProblemDocument, *bodies, *answers]))
    _, schemas = models_json_schema(
        [(each, "serialization" if issubclass(each, Answered) else "validation") for each in models],
        ref_template=_REF,
    )
    paths: dict[str, dict[str, Any]] = {}
    for each in calls:
        paths.setdefault(_VARIABLE.sub(r"{\1}", each.path), {})[each.method.lower()] = _described(each)
    for name in ("SlotAnswer", "TemplateAnswer"):  # they stand beside the fields, each by its name
        schemas["$defs"][name]["properties"].pop("own", None)
    codes = ", ".join(f"`{code}` ({status})" for code, status in sorted(CODES.items()))
    return {
        "openapi": "3.1.0",
        "info": {"title": "Flask-RollingSlots", "version": "1", "description": f"{_ABOUT}{codes}."},
        "paths": paths,
        "components": {
            "schemas": schemas.get("$defs", {}),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "tags": [{"name": tag} for tag in dict.fromkeys(each.tag for each in calls)],
    }


def _with_open_reads(paths: dict[str, Any], is_all: bool) -> dict[str, Any]:
    """Return the calls of an app whose reads, or with its own callback all of its calls, may do without a token."""
    names = {each.name for each in calls if is_all or each.needs is Needs.READ}

    def opened(call: dict[str, Any]) -> dict[str, Any]:
        return {**call, "security": _OR_NONE} if call["operationId"] in names and "security" in call else call

    return {path: {method: opened(call) for method, call in known.items()} for path, known in paths.items()}


def _with_own(components: dict[str, Any], slots: RollingSlots) -> dict[str, Any]:
    """Return the schemas with the columns of the app's own, which only the app knows."""
    schemas = dict(components["schemas"])
    for model, kinds, is_answer in _WITH_OWN:
        schema = schemas[model.__name__]
        properties = dict(schema["properties"])
        for key, field in own_columns(slots, kinds).items():
            form = field.kind.form if is_answer else field.kind.form | field.kind.limits
            shown = {"anyOf": [form, {"type": "null"}]} if field.nullable and form else dict(form)
            properties[key] = shown | {"description": field.sentence}
        schemas[model.__name__] = {**schema, "properties": properties}
    return {**components, "schemas": schemas}


def _models(answer: Any) -> Sequence[type[BaseModel]]:
    """Return the models of a JSON body; text of another type has none."""
    if answer is None or isinstance(answer, str):
        return ()
    return answer if isinstance(answer, tuple) else (answer,)


def _described(operation: Operation) -> dict[str, Any]:
    summary, _, rest = (inspect.getdoc(operation.handler) or "").partition("\n")
    found: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": summary,
        "parameters": _parameters(operation),
        "responses": _responses(operation),
    }
    if rest:
        found["description"] = rest.strip()
    if operation.body is not None:
        required = any(field.is_required() for field in operation.body.model_fields.values())
        found["requestBody"] = {"required": required, "content": _content("application/json", operation.body)}
    if operation.needs in _SECURITY:
        found["security"] = _SECURITY[operation.needs]
    return found


def _content(mime: str, *models: type[BaseModel]) -> dict[str, Any]:
    refs = [{"$ref": _REF.format(model=model.__name__)} for model in models]
    return {mime: {"schema": refs[0] if len(refs) == 1 else {"oneOf": refs}}}


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _PATHS[name]}
        for name in _VARIABLE.findall(operation.path)
    ]
    query = operation.query.model_json_schema(ref_template=_REF)
    for name, schema in query.get("properties", {}).items():
        for left_out in ("title", "default"):
            schema.pop(left_out, None)
        some = [one for one in schema.pop("anyOf", []) if one.get("type") != "null"]
        if len(some) == 1:
            schema = {**some[0], **schema}
        about = {"description": schema.pop("description")} if "description" in schema else {}
        required = name in query.get("required", ())
        found.append({"name": name, "in": "query", "required": required, "schema": schema, **about})
    return found + [{"name": name, "in": "header", **_HEADERS[name]} for name in operation.headers]


def _responses(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status, answer in operation.answers.items():
        response: dict[str, Any] = {"description": HTTPStatus(status).phrase}
        found[str(status)] = response
        if isinstance(answer, str):
            response["content"] = {answer: {"schema": {"type": "string"}}}
        elif answer is not None:
            response["content"] = _content("application/json", *_models(answer))
        if status in (201, 202):
            header = {"description": "The address of what was made.", "schema": {"type": "string"}}
            response["headers"] = {"Location": header}
    for status in _refusals(operation):
        found[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": _content(MIME, ProblemDocument),
        }
    return found


def _refusals(operation: Operation) -> list[int]:
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
