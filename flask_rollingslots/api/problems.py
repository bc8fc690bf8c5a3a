"""What goes wrong, as problem documents (RFC 9457): a status, a code for machines, a sentence for people."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from http import HTTPStatus
from typing import Any

from flask import Response, current_app, got_request_exception
from werkzeug.exceptions import HTTPException

from .. import errors
from ..facade import RollingSlots

log = logging.getLogger("flask_rollingslots")

MIME = "application/problem+json"

#: The first class that fits decides: status, code, and which details of the error are told.
_ERRORS: tuple[tuple[type[errors.RollingSlotsError], int, str, tuple[str, ...]], ...] = (
    (errors.InvalidKey, 404, "invalid_key", ()),
    (errors.TemplateNotFound, 404, "template_not_found", ()),
    (errors.SlotNotFound, 404, "slot_not_found", ("report",)),
    (errors.BookingNotFound, 404, "booking_not_found", ()),
    (errors.RunNotFound, 404, "run_not_found", ()),
    (errors.InvalidRule, 422, "invalid_rule", ()),
    (errors.InvalidTemplate, 422, "invalid_template", ()),
    (errors.InvalidRequest, 422, "invalid_request", ()),
    (errors.IdempotencyConflict, 422, "idempotency_conflict", ()),
    (errors.SlotFull, 409, "slot_full", ("key", "left", "party", "report")),
    (errors.SlotClosed, 409, "slot_closed", ("key", "state", "until", "too_late", "report")),
    (errors.TooManyHolds, 409, "too_many_holds", ("held", "limit")),
    (
        errors.LimitReached,
        409,
        "limit_reached",
        ("key", "limit", "most", "taken", "party", "next_at", "report"),
    ),
    (errors.SlotBooked, 409, "slot_booked", ("key", "booked")),
    (errors.StatusConflict, 409, "status_conflict", ("key", "status")),
    (errors.HoldExpired, 409, "hold_expired", ("booking_id", "expired_at")),
    (errors.StaleEdit, 409, "stale_edit", ("revision",)),
    (errors.LostRace, 409, "try_again", ()),
    (errors.TopUpBusy, 409, "topup_busy", ("run",)),
)
#: What Flask, or the app around us, refuses: status -> code.
_HTTP_CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
}
_HTTP_TEXTS = {404: "there is nothing at this address", 413: "the body is too large: at most 65,536 bytes"}
#: Every code that the API uses, for its documentation.
CODES = {
    **{code: status for _, status, code, _ in _ERRORS},
    **{code: status for status, code in _HTTP_CODES.items()},
    "slot_blocked": 409,
    "try_again": 409,
    "invalid_json": 400,
    "writes_disabled": 403,
    "reads_disabled": 403,
    "cross_origin": 403,
    "json_expected": 415,
    "too_many_requests": 429,
    "too_many_wrong_tokens": 429,
    "internal_error": 500,
}


@dataclass(eq=False)
class Problem(Exception):
    """A request that is refused by the API itself; without a status, by that of its code in ``CODES``."""

    code: str
    detail: str
    members: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 0

    def __post_init__(self) -> None:
        super().__init__(self.detail)
        self.status = self.status or CODES[self.code]

    def response(self) -> Response:
        """Return the problem document."""
        document = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **{name: plain(value) for name, value in self.members.items()},
        }
        response = Response(json.dumps(document), self.status, mimetype=MIME)
        response.headers.update(self.headers)
        return response


def invalid(name: str, value: Any, expected: str) -> Problem:
    """Return the problem of one field that is not valid; ``None`` as value: it is not repeated."""
    return unprocessable([fault(name, value, expected)])


def unprocessable(faults: Sequence[dict[str, Any]]) -> Problem:
    """Return the problem of a request whose fields are not valid."""
    detail = "; ".join(_sentence(fault) for fault in faults[:3])
    return Problem("invalid_request", detail[:1000], {"errors": faults[:20]})


def fault(name: str, value: Any, expected: str) -> dict[str, Any]:
    """Return one fault: which field, what it held (shortened), what was expected."""
    return {"field": name, "value": shown(value), "expected": expected}


def shown(value: Any) -> Any:
    """Return a value as it may be repeated in an answer: short, and plain."""
    if value is None or (isinstance(value, int | float) and abs(value) < 2**53):
        return value
    text = value if isinstance(value, str) else str(plain(value))
    return text if len(text) <= 80 else f"{text[:79]}…"


def plain(value: Any) -> Any:
    """Return a detail of an error as JSON can hold it."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str | int | float | bool | None):
        return value
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    return plain(value.to_dict()) if hasattr(value, "to_dict") else str(value)


def _sentence(found: Mapping[str, Any]) -> str:
    held = "" if found["value"] is None else f" = {found['value']!r}"
    return f"{found['field']}{held}: expected {found['expected']}"


def from_error(error: errors.RollingSlotsError) -> Problem | None:
    """Return the problem of an error of the library; ``None`` if it is the server's own fault."""
    row = next((row for row in _ERRORS if isinstance(error, row[0])), None)
    if row is None:
        return None
    _, status, code, names = row
    details, text = error.details, str(error)
    members = {name: value for name in names if (value := getattr(error, name, None)) is not None}
    if "status" in members:  # of the slot or booking: in a problem document that name is the answer's own
        members["current"] = members.pop("status")
    if status == 422:
        name, expected = details.get("field") or details.get("part") or "", details.get("expected") or text
        members["errors"] = [fault(str(name), details.get("value"), str(expected)[:300])]
    if code == "slot_closed" and members.get("state") == "blocked":
        code = "slot_blocked"
    waits = {"topup_busy": "5", "try_again": "1"}
    headers = {"Retry-After": waits[code]} if code in waits else {}
    return Problem(code, text[:1000], members, headers)


def on_library_error(error: errors.RollingSlotsError) -> Response:
    """Answer what the library refuses."""
    problem = from_error(error)
    return on_any_error(error) if problem is None else problem.response()


def on_http_error(error: HTTPException) -> Any:
    """Answer what Flask, or the app around us, refuses while a request of ours is served."""
    status = error.code or 500
    if error.response is not None or status < 400:
        return error
    if status == 500:
        return on_any_error(getattr(error, "original_exception", None) or error)
    kept = ("allow", "retry-after", "www-authenticate")
    headers = {name: value for name, value in error.get_headers() if name.lower() in kept}
    text = _HTTP_TEXTS.get(status, HTTPStatus(status).description)
    return Problem(_HTTP_CODES.get(status, "refused"), text, {}, headers, status).response()


def on_any_error(error: Exception) -> Response:
    """Answer what nobody foresaw: the log has it all, the answer only an id to find it by."""
    if RollingSlots.is_lost_race(error):
        text = "another change was in the way of this one: try again"
        return Problem("try_again", text, {}, {"Retry-After": "1"}).response()
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    got_request_exception.send(app, _async_wrapper=app.ensure_sync, exception=error)
    number = uuid.uuid4()
    log.error("HTTP API: request %s failed", number, exc_info=error, extra={"action": "api_failed"})
    text = "something went wrong on the server; its log has the details under this id"
    return Problem("internal_error", text, {"instance": f"urn:uuid:{number}"}).response()
