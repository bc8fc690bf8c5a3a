"""The blueprint: every call as a route, every refusal as a problem document, and nothing of the app's changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, current_app, request
from flask.globals import request_ctx
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, default_exceptions

from flask_rollingslots.errors import RollingSlotsError

from . import feed_routes, slot_routes, template_routes, topup_routes
from .openapi import add_openapi
from .problems import Problem, on_any_error, on_http_error, on_library_error

if TYPE_CHECKING:
    from flask.blueprints import BlueprintSetupState

    from .operations import Operation

NAME = "rollingslots_api"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
#: In the order of the documentation.
_ALL = (
    template_routes.operations,
    slot_routes.operations,
    slot_routes.bookings,
    topup_routes.operations,
    topup_routes.health,
    feed_routes.operations,
)


def make_blueprint() -> Blueprint:
    """Return the HTTP API, to be registered with one or several apps."""
    blueprint = Blueprint(NAME, __name__)
    operations = [operation for some in _ALL for operation in some.found]
    for operation in operations:
        _add(blueprint, operation)
    add_openapi(blueprint, operations)
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


def _add(blueprint: Blueprint, operation: Operation) -> None:
    def add(state: BlueprintSetupState) -> None:
        # Below a prefix the rule for all other methods answers OPTIONS: Flask would find no method with it.
        options = {"methods": [operation.method], "provide_automatic_options": not state.url_prefix}
        state.add_url_rule(operation.path, operation.name, operation.view, **options)

    blueprint.record(add)


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
    adapter = request_ctx.url_adapter
    if adapter is None:
        raise NotFound
    allowed = [method for method in _METHODS if _is_there(adapter, method)]
    if allowed and "OPTIONS" not in allowed:
        allowed.append("OPTIONS")
    if allowed and request.method == "OPTIONS":
        return current_app.response_class(headers={"Allow": ", ".join(allowed)})
    if allowed:
        raise MethodNotAllowed(valid_methods=allowed)
    raise NotFound


def _is_there(adapter: Any, method: str) -> bool:
    try:
        endpoint, _ = adapter.match(method=method)
    except HTTPException:
        return False
    return bool(endpoint != request.endpoint)
