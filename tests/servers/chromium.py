"""A real browser."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .process import START_SECONDS, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

_FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
)


@contextmanager
def chromium() -> Iterator[Any]:
    """Start Chromium: the system's, or the one that playwright brings.

    :raises Unavailable: if there is neither.
    """
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        raise Unavailable("playwright is not installed") from None
    with sync_playwright() as playwright:
        flags = [*_FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        try:
            found = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=flags, timeout=1000 * START_SECONDS
            )
        except Error as error:
            raise Unavailable(f"no Chromium: {error.message.splitlines()[0]}") from None
        try:
            yield found
        finally:
            found.close()
