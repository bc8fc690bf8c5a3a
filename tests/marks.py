"""Which databases a test needs in `make test`, and which only among the slow tests."""

from __future__ import annotations

import pytest

DATABASES = ("sqlite", "postgresql", "mariadb")


def quick_on(*quick: str) -> pytest.MarkDecorator:
    """Let a test that asks for ``database_url`` be quick on these databases, and slow on the others.

    For what costs much and is proven there in another way, too; a comment beside the mark says how.
    """
    values = [pytest.param(name, marks=[] if name in quick else pytest.mark.slow) for name in DATABASES]
    return pytest.mark.parametrize("database_url", values, indirect=True)
