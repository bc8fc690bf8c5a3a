"""Who may do what: bearer tokens, the app's own ``authorize`` callback, or both; and where a write comes from."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from time import monotonic
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flask import request
from werkzeug.exceptions import HTTPException

from ..errors import RollingSlotsError, TemplateNotFound, no_booking, no_template
from ..facade import Authorizer
from ..settings import PREFIX, Settings, tokens_of
from .problems import Problem

#: Where ``app.extensions`` keeps the guard.
GUARD = "rollingslots_api"
_MINUTE = 60.0
#: Of how many senders it is known what they do; then all begin anew.
_KEYS = 10_000
_SAFE = ("GET", "HEAD", "OPTIONS")
T = TypeVar("T")


class Needs(Enum):
    """What a call asks for."""

    NOTHING = "nothing"
    #: Nothing, but who may read is told more.
    STATUS = "status"
    READ = "read"
    WRITE = "write"


@dataclass(slots=True, eq=False)
class Grant:
    """What the sender of this request may do.

    :param is_trusted: whether a token of ours was sent: its sender may know how things are on the server.
    :param decide: the app's callback, where it decides.
    :param has_tokens: whether a token could have been sent.
    :param public_data: the keys of ``data`` that are for everybody; ``None``: the sender sees all.
    :param who: the person in whose name the sender acts, once the callback has said so.
    :param edited: a key of the series that is edited, once the callback has let the sender.
    """

    is_trusted: bool = False
    decide: Authorizer | None = None
    has_tokens: bool = False
    public_data: frozenset[str] | None = None
    who: str | None = None
    edited: str | None = None
    _edits: dict[int, bool] = field(default_factory=dict)

    @property
    def sees_all(self) -> bool:
        """Whether there is nothing to hide from the sender."""
        return self.decide is None

    @property
    def reads_all(self) -> bool:
        """Whether the sender is known, and may read all: by a token, or by what the callback says."""
        with suppress(HTTPException):  # the callback's own no
            return self.is_trusted or (self.decide is not None and bool(self.may("read", None)))
        return False

    def may(self, action: str, template: Any, **about: Any) -> bool | str:
        """Return the decision: yes, no, or the name of the person in whose name alone.

        :param about: what else the callback may ask for: ``slot``, ``booking``, ``changes``.
        """
        if self.decide is None:
            return True
        found = self.decide(action, template, **about)
        if not isinstance(found, str) or not found:
            return found is True
        self.who = found
        return found

    def shown_data(self, template: Any) -> frozenset[str] | None:
        """Return which keys of ``data``, and own columns, the sender sees of a template; ``None``: all."""
        if self.public_data is None or self.decide is None:
            return self.public_data
        number = template.id or id(template)
        if number not in self._edits:
            self._edits[number] = bool(self.may("edit", template))
        return None if self._edits[number] else self.public_data

    def sees(self, template: Any) -> bool:
        """Whether the sender may know that there is this template."""
        return bool(self.may("read", template))

    def visible(self, found: Sequence[T], template_of: Callable[[T], Any] = lambda each: each) -> Sequence[T]:
        """Return what belongs to templates that the sender may know of; each template is asked about once."""
        if self.decide is None:
            return found
        templates = {template.id: template for template in map(template_of, found)}
        seen = {number for number, template in templates.items() if self.sees(template)}
        return [each for each in found if template_of(each).id in seen]

    def require(self, action: str, template: Any, **about: Any) -> bool | str:
        """Return the decision about one template, or all (``None``); no is "not found", 401 or 403, as one may know."""
        found = self.may(action, template, **about)
        if found:
            return found
        if template is not None and (action == "read" or not self.sees(template)) and action != "create":
            raise no_template(template.id)
        if self.has_tokens and not request.cookies and not self.may("read", None):
            raise unauthorized("credentials are missing")
        raise Problem("forbidden", f"you may not do this: {action}")

    def require_all(
        self, action: str, templates: Sequence[Any], missing: RollingSlotsError, **about: Any
    ) -> None:
        """Refuse unless the sender may do this with each of some templates, and knows of at least one."""
        if not templates or not all(self.sees(template) for template in templates):
            raise missing
        for template in templates:
            self.require(action, template, **about)

    def require_change(
        self, templates: Sequence[Any], changes: Mapping[str, Any], missing: RollingSlotsError, **about: Any
    ) -> None:
        """Refuse unless the sender may edit each of some templates as it is, and as it would be with the changes."""
        self.require_all("edit", templates, missing, changes=changes, **about)
        if self.decide is None:
            return
        for template in templates:
            if not self.may("edit", template.rolling_with(changes), changes=changes, **about):
                raise Problem("forbidden", "you may not do this: edit it so that it becomes what was sent")

    def require_override(self, template: Any, slot: Any = None, booking: Any = None) -> None:
        """Refuse to go past a limit, unless it is said in so many words: a person's name is no yes here."""
        if self.may("override", template, slot=slot, booking=booking) is not True:
            raise Problem("forbidden", "you may not do this: override")

    def require_booking(self, booking: Any) -> None:
        """Refuse a booking of somebody else: it is not found."""
        slot = booking.slot
        with suppress(TemplateNotFound):
            if self.require("book", slot.template, slot=slot, booking=booking) in (True, booking.who):
                return
        raise no_booking(booking.id)

    def sees_booking(self, booking: Any) -> bool:
        """Whether the sender may know of a booking."""
        slot = booking.slot
        return self.may("book", slot.template, slot=slot, booking=booking) in (True, booking.who)


class Guard:
    """Checks the credentials of requests to one app."""

    def __init__(self, settings: Settings) -> None:
        """Keep digests, not tokens."""
        self._writers = [_digest(token) for token in tokens_of(settings.api_token)]
        self._readers = [_digest(token) for token in tokens_of(settings.api_read_token)]
        self._is_public, self._public_data = settings.public_reads, frozenset(settings.public_data)
        self._wrong = _Counts(settings.api_wrong_tokens)
        self._right = _Counts(settings.api_requests_per_minute)

    def grant(self, needs: Needs, decide: Authorizer | None) -> Grant:
        """Return what the sender of the current request may do; 401, 403 or 429 if it is not enough."""
        if needs is Needs.NOTHING:
            return Grant()
        has_tokens = bool(self._writers or self._readers)
        header = request.headers.get("Authorization")
        if header is not None and has_tokens:
            return self._by_token(header, needs)
        if decide is not None:
            _check_origin()
            return Grant(decide=decide, has_tokens=has_tokens, public_data=self._public_data)
        if needs is Needs.STATUS or (needs is Needs.READ and self._is_public):
            return Grant(public_data=self._public_data)
        if self._writers or (needs is Needs.READ and has_tokens):
            raise unauthorized("a bearer token is missing: send the header Authorization: Bearer <token>")
        how = f"set {PREFIX}API_TOKEN, or give RollingSlots an authorize callback"
        if needs is Needs.WRITE:
            raise Problem("writes_disabled", f"writing is switched off: {how}")
        how = f"{how} (or set {PREFIX}API_READ_TOKEN, or {PREFIX}PUBLIC_READS = True)"
        raise Problem("reads_disabled", f"reading is switched off: {how}")

    def _by_token(self, header: str, needs: Needs) -> Grant:
        scheme, _, token = header.partition(" ")
        digest = _digest(token) if scheme == "Bearer" else b""
        # Every token is compared, whatever the result, so that the time tells nothing.
        writes = sum(hmac.compare_digest(digest, known) for known in self._writers)
        reads = sum(hmac.compare_digest(digest, known) for known in self._readers)
        if writes or reads:
            self._count_right(digest)
        if writes or (reads and needs is not Needs.WRITE):
            return Grant(is_trusted=True)
        if reads:
            raise Problem("forbidden", "this token may only read")
        self._count_wrong()
        raise unauthorized("the bearer token is wrong: expected the header Authorization: Bearer <token>")

    def _count_right(self, digest: bytes) -> None:
        """Tell a program that asks too much to slow down; every token is counted for itself."""
        if wait := self._right.add(digest):
            text = f"more than {self._right.most:,} requests a minute with this token: try again in {wait} s"
            raise Problem("too_many_requests", text, {}, {"Retry-After": wait})

    def _count_wrong(self) -> None:
        """Tell an address that sends many wrong tokens to slow down; a right one is never refused for that."""
        if wait := self._wrong.add(request.remote_addr or ""):
            text = f"too many wrong tokens from this address: try again in {wait} s"
            raise Problem("too_many_wrong_tokens", text, {}, {"Retry-After": wait})


class _Counts:
    """Counts, in this process, what each of many does within a minute.

    :param most: how much each of them may do.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._begun: dict[str | bytes, tuple[float, int]] = {}
        self._lock = threading.Lock()

    def add(self, key: str | bytes) -> str | None:
        """Count once more; return the seconds until the next minute begins, if it was too much."""
        now = monotonic()
        with self._lock:
            if len(self._begun) >= _KEYS:
                self._begun.clear()
            began, count = self._begun.get(key, (now, 0))
            if now - began >= _MINUTE:
                began, count = now, 0
            self._begun[key] = began, count + 1
        return str(max(1, round(_MINUTE - (now - began)))) if count >= self.most else None


def unauthorized(detail: str) -> Problem:
    """Return the problem of credentials that are wrong or missing."""
    return Problem("unauthorized", detail, {}, {"WWW-Authenticate": 'Bearer realm="rollingslots"'})


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _check_origin() -> None:
    """Refuse a write that another site lets a browser send: what the callback looks at may be a cookie.

    Every browser sends one of these two headers with a write. What sends neither is none, and has no cookies that
    somebody else could use.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if request.method in _SAFE or site in ("same-origin", "none"):
        return
    if site is not None or (origin is not None and _host(origin) != request.host.lower()):
        raise Problem("cross_origin", "a write from a page of another site: expected the same origin")


def _host(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None
