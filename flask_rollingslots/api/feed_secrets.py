"""The secret in the address of a calendar, for programs that can send no header.

It is a signed note: which group, and the number of its address. Nothing of it is stored but that number, which grows
when the address is withdrawn. A new ``SECRET_KEY`` withdraws all addresses, unless the old one is kept among
``SECRET_KEY_FALLBACKS``.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from itsdangerous import BadData, URLSafeSerializer

from flask_rollingslots.errors import ConfigError

if TYPE_CHECKING:
    from flask import Flask

#: Longer than any secret: a group has at most 200 characters, and each at most 16 in base64 of JSON.
LONGEST = 4000


class Note(NamedTuple):
    """What a secret says.

    :param group: whose slots; ``None``: all.
    :param number: the address holds as long as this is the group's number.
    """

    group: str | None
    number: int


def write_secret(app: Flask, note: Note) -> str:
    """Return the secret of an address.

    :raises ConfigError: if the app has no ``SECRET_KEY``.
    """
    if not app.secret_key:
        raise ConfigError("secret addresses of feeds are signed: set SECRET_KEY", key="SECRET_KEY")
    text: str = _signer(app).dumps(list(note))
    return text


def read_secret(app: Flask, text: str) -> Note | None:
    """Return what a secret says; ``None`` if it is none of ours."""
    if not app.secret_key or len(text) > LONGEST:
        return None
    try:
        group, number = _signer(app).loads(text)
    except (BadData, ValueError, TypeError):
        return None
    is_note = isinstance(group, str | None) and isinstance(number, int)
    return Note(group, number) if is_note else None


def _signer(app: Flask) -> URLSafeSerializer:
    keys = [*(app.config.get("SECRET_KEY_FALLBACKS") or ()), app.secret_key]
    options = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
    return URLSafeSerializer(keys, salt="rollingslots feed", signer_kwargs=options)
