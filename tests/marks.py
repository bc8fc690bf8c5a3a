"""Which databases a test needs in `make test`, and which only among the slow tests."""

from __future__ import annotations

from typing import Any

import pytest

#: The fixture that makes a new, empty one of each.
FIXTURES = {"sqlite": "sqlite_url", "postgresql": "postgres_url", "mariadb": "mariadb_url"}
DATABASES = tuple(FIXTURES)


def _values(quick: tuple[str, ...]) -> list[Any]:
    return [pytest.param(name, marks=[] if name in quick else pytest.mark.slow) for name in DATABASES]


def quick_on(*quick: str) -> pytest.MarkDecorator:
    """Let a test that asks for ``database_url`` be quick on these databases, and slow on the others.

    For what costs much and is proven there in another way, too; a comment beside the mark says how.
    """
    return pytest.mark.parametrize("database_url", _values(quick), indirect=True)


def quick_databases(*quick: str) -> Any:
    """Return the fixture ``database_url`` for a whole file whose tests are quick on these databases alone.

    A test of the file that needs another choice says so with `quick_on`.
    """

    @pytest.fixture(name="database_url", params=_values(quick))
    def database_url(request: pytest.FixtureRequest) -> Any:
        """The URL of a new, empty database."""
        return request.getfixturevalue(FIXTURES[request.param])

    return database_url
