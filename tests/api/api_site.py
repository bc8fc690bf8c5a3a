"""An app with the HTTP API and two tenants, and a client that speaks JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import request, session
from helpers import Clock, Site

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

WRITE, READ = "w" * 20 + "-for-writing-" + "w" * 20, "r" * 20 + "-for-reading-" + "r" * 20
WRONG = "x" * 40
PREFIX = "/api"


def bearer(token: str) -> dict[str, str]:
    """Return the header that a token is sent in."""
    return {"Authorization": f"Bearer {token}"}


class ApiSite(Site):
    """A site whose API has a token for reading and one for writing."""

    def __init__(self, url: str, folder: Path, clock: Clock | None = None, **config: Any) -> None:
        defaults: dict[str, Any] = {
            "ROLLINGSLOTS_API_PREFIX": PREFIX,
            "ROLLINGSLOTS_API_TOKEN": WRITE,
            "ROLLINGSLOTS_API_READ_TOKEN": READ,
            "SECRET_KEY": "for tests",
        }
        super().__init__(url, folder, clock, **{**defaults, **config})

    def fill(self, *names: str, **fields: Any) -> list[int]:
        """Add templates, one for each name, each in a group of the same name; return their ids."""
        with self.app.app_context():
            return [self.add(**{"name": name, "group": name.lower(), **fields}).id for name in names]

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        token: str | None = WRITE,
        **options: Any,
    ) -> Any:
        """Make one request with a token; a path below the prefix."""
        sent = {**(bearer(token) if token else {}), **(headers or {})}
        if body is not None:
            options["json"] = body
        return self.app.test_client().open(f"{PREFIX}{path}", method=method, headers=sent, **options)

    def get(self, path: str, **options: Any) -> Any:
        """Return what a GET answers, which must be 200."""
        answer = self.call("GET", path, **options)
        assert answer.status_code == 200, answer.text
        return answer.json

    def stored(self) -> int:
        """Return the number of rows of slots."""
        with self.app.app_context():
            return len(self.rows())


def by_tenant(action: str, template: Any) -> bool:
    """Let the tenant named in the session cookie, or in a header, do everything with its own templates."""
    tenant = session.get("tenant") or request.headers.get("X-Tenant")
    return template is not None and tenant is not None and template.group == tenant
