"""Column types: aware instants, durations and lists of dates, alike on every database."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import JSON, BigInteger, DateTime, Integer, TypeDecorator
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.mutable import MutableDict, MutableList

from flask_rollingslots.errors import InvalidTemplate, refusal

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect
    from sqlalchemy.types import TypeEngine

T = TypeVar("T")
#: 64-bit ids; SQLite only counts up by itself in a column that is called INTEGER.
Id = BigInteger().with_variant(Integer(), "sqlite")


class _Plain(TypeDecorator[T]):
    """Lets a migration name the plain type of the database, so that it runs without this library.

    Alembic writes ``sa.`` and the type's repr for types that live in SQLAlchemy, and an import that is missing in
    the script for all others.
    """

    plain = ""

    def __init_subclass__(cls) -> None:
        cls.__module__, cls.cache_ok = "sqlalchemy.types", True

    def __repr__(self) -> str:
        return self.plain


class UtcDateTime(_Plain[datetime]):
    """An instant: aware in Python, UTC in the database, to the microsecond."""

    plain = (
        "DateTime(timezone=True).with_variant(sa.dialects.mysql.DATETIME(fsp=6), 'mysql')"
        ".with_variant(sa.dialects.mysql.DATETIME(fsp=6), 'mariadb')"
    )
    impl = DateTime

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime(timezone=dialect.name == "postgresql"))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r}: expected an aware datetime (with a time zone)")
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class WallDateTime(_Plain[datetime]):
    """A wall-clock time: naive in Python and in the database."""

    plain = "DateTime()"
    impl = DateTime

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        # The zone of an aware value would be lost silently.
        if value is not None and value.tzinfo is not None:
            raise ValueError(f"{value!r}: expected a naive datetime (wall-clock time)")
        return value


class Seconds(_Plain[timedelta]):
    """A span of time: ``timedelta`` in Python, whole seconds in the database."""

    plain = "BigInteger()"
    impl = BigInteger

    def process_bind_param(self, value: timedelta | None, dialect: Dialect) -> int | None:
        return None if value is None else int(value.total_seconds())

    def process_result_value(self, value: int | None, dialect: Dialect) -> timedelta | None:
        return None if value is None else timedelta(seconds=value)


class Moments(_Plain[list[Any]]):
    """A list of wall-clock times or dates, as ISO 8601 texts in JSON: sorted, without doubles."""

    plain = "JSON()"
    impl = JSON

    def process_bind_param(self, value: list[Any] | None, dialect: Dialect) -> list[str] | None:
        return None if value is None else sorted({moment.isoformat() for moment in value})

    def process_result_value(self, value: list[str] | None, dialect: Dialect) -> list[Any]:
        return [
            datetime.fromisoformat(text) if "T" in text else date.fromisoformat(text) for text in value or ()
        ]


class DateRanges(_Plain[list[Any]]):
    """A list of (first day, last day) pairs, both included."""

    plain = "JSON()"
    impl = JSON

    def process_bind_param(self, value: list[Any] | None, dialect: Dialect) -> list[list[str]] | None:
        return None if value is None else [[first.isoformat(), last.isoformat()] for first, last in value]

    def process_result_value(self, value: list[list[str]] | None, dialect: Dialect) -> list[Any]:
        return [(date.fromisoformat(first), date.fromisoformat(last)) for first, last in value or ()]


class TrackedList(MutableList[Any]):
    """A list in a column whose changes in place are noticed and stored."""

    @classmethod
    def coerce(cls, key: str, value: Any) -> Any:
        """Take any sequence or set.

        :raises InvalidTemplate: if it is none, such as a single date.
        """
        if value is None or isinstance(value, cls):
            return value
        if isinstance(value, str) or not isinstance(value, Iterable):
            # By its repr: with a single date it is the type that is wrong.
            text = f"{key} = {value!r}: expected a list"
            raise InvalidTemplate(text, field=key, value=value, expected="a list")
        return cls(list(value))


class TrackedDict(MutableDict[str, Any]):
    """A dict in a column whose changes in place are noticed and stored."""

    @classmethod
    def coerce(cls, key: str, value: Any) -> Any:
        """Take a dict.

        :raises InvalidTemplate: if it is none.
        """
        if value is not None and not isinstance(value, dict):
            raise refusal(key, value, "a dict", InvalidTemplate)
        return super().coerce(key, value)
