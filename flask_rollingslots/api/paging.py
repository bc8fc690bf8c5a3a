"""Pages: every list has an end, and says where it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import request

from .problems import fault, invalid

if TYPE_CHECKING:
    from collections.abc import Sequence


def page(items: Sequence[Any], cursor: str | None) -> dict[str, Any]:
    """Return one page of a list.

    :param cursor: where the next page begins; ``None``: this is the last one.
    """
    following = None
    if cursor is not None:
        # The same question, asked from there on.
        parameters = {**request.args.to_dict(), "cursor": cursor}
        following = f"{request.script_root}{request.path}?{_query(parameters)}"
    return {"items": list(items), "next": following}


def _query(parameters: dict[str, str]) -> str:
    from urllib.parse import urlencode

    return urlencode(parameters)


def number_of(cursor: str | None) -> int | None:
    """Return the id that a cursor holds.

    :raises Problem: 422 if it is no cursor of ours.
    """
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise invalid([fault("cursor", cursor, "the cursor in the address that next names")])
    return int(cursor)
