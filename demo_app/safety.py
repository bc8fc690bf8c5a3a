"""What keeps the site safe: the secret key, tokens on forms, headers, and who a visitor is."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from flask import abort, request, session

if TYPE_CHECKING:
    from pathlib import Path

    from flask import Response

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def stored_secret(path: Path) -> str:
    """Return the key in a file, which is made on the first call; processes that start together get the same."""
    if not path.exists():
        draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        with suppress(FileExistsError):  # another process was first: its key holds
            os.link(draft, path)
        draft.unlink()
    return path.read_text()


def csrf_token() -> str:
    """Return the token that each form of this visitor carries."""
    if "csrf" not in session:
        session["csrf"] = secrets.token_urlsafe(24)
    token: str = session["csrf"]
    return token


def check_form() -> None:
    """Refuse a form that another site made this visitor send, and texts that no database can hold."""
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    expected, given = str(session.get("csrf", "")), request.form.get("csrf_token", "")
    if not expected or not secrets.compare_digest(expected.encode(), given.encode()):
        abort(400)
    if any("\0" in text for _, text in request.form.items(multi=True)):
        abort(400)


def visitor_id() -> str:
    """Return who this visitor is: a random text in the signed cookie, and nothing else."""
    if "visitor" not in session:
        session["visitor"] = secrets.token_urlsafe(16)
    visitor: str = session["visitor"]
    return visitor


def add_headers(response: Response) -> Response:
    """Let pages load only what this site serves, and let no cache keep a page with somebody's token."""
    response.headers.extend(_HEADERS)
    if response.mimetype in ("text/html", "application/json"):
        response.headers["Cache-Control"] = "no-store"
    return response
