"""What a field may hold: column types that are alike on every database, and kinds of values.

A kind has its column, its check, and its form in JSON: one reader and one writer for files and HTTP alike.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    DateTime,
    Index,
    Integer,
    String,
    Table,
    TextClause,
    Time,
    TypeDecorator,
)
from sqlalchemy import Text as LongText

# Not lazily, on any database: migrations that were written with these types say `sa.dialects.mysql`.
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.ext.mutable import MutableDict, MutableList
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

from ..errors import CONTROLS, InvalidTemplate, refusal
from ..lazy import lazy
from ..settings import MAX_DAYS
from ..values import YEARS

if TYPE_CHECKING:
    from ..recurrence import dialects
else:
    (dialects,) = lazy(".recurrence.dialects")

T = TypeVar("T")
#: 64-bit ids; SQLite only counts up by itself in a column that is called INTEGER.
Id = BigInteger().with_variant(Integer(), "sqlite")
#: More entries than this in one list are no calendar any more.
MAX_ENTRIES = 10_000
_MINUTE = timedelta(minutes=1)
_LONGEST = timedelta(days=MAX_DAYS)
_FEWEST = {None: f"-{MAX_DAYS:,}", 0: "zero", 1: "one minute"}
_IN_YEARS = f"within the years {YEARS.start} to {YEARS.stop - 1}"
_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_MOMENT = re.compile(
    rf"{_DAY}[T ][0-9]{{2}}:[0-9]{{2}}(:[0-9]{{2}}([.][0-9]{{1,6}})?)?(Z|[+-][0-9]{{2}}:[0-9]{{2}})?"
)
_LONGEST_VARCHAR = 255
#: What texts that are printed must be, besides their length.
ONE_LINE = " on one line, without control characters"
#: The dialects of databases with indexes of some rows alone.
_PARTIAL = ("sqlite", "postgresql")
#: The names of dialects that MariaDB is spoken to by.
MARIADB = ("mysql", "mariadb")
#: The collations under which a text equals itself alone, blanks at its end included; by whether it is MariaDB.
#: And one text for both servers, each of which reads its own part, for who knows neither.
EXACT = {True: "utf8mb4_nopad_bin", False: "utf8mb4_0900_bin"}
_EXACT_ON_EITHER = "/*!80017 utf8mb4_0900_bin *//*M! utf8mb4_nopad_bin */"


#: When time begins to count, aware and naive.
_EPOCH, _ZERO = datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 1)  # noqa: DTZ001 (without a zone)


# -- columns


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


class Exact(_Plain[str]):
    """A short text that equals another one only if each of its bytes does, on every database.

    MariaDB and MySQL forgive case, accents and blanks at the end, unless a collation of theirs forbids it.
    """

    impl = String

    def __init__(self, length: int) -> None:
        super().__init__(length)
        variant = f"sa.dialects.mysql.VARCHAR({length}, collation={_EXACT_ON_EITHER!r})"
        variants = "".join(f".with_variant({variant}, {name!r})" for name in MARIADB)
        self.length, self.plain = length, f"String({length}){variants}"

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name not in MARIADB:
            return dialect.type_descriptor(String(self.length))
        collation = _EXACT_ON_EITHER
        if getattr(dialect, "server_version_info", None):  # connected
            collation = EXACT[bool(getattr(dialect, "is_mariadb", False))]
        return dialect.type_descriptor(mysql.VARCHAR(self.length, collation=collation))


#: How long the text of a moment is before its offset.
_WITHOUT_OFFSET = 26


class UtcDateTime(_Plain[datetime]):
    """An instant: aware in Python, UTC in the database, to the microsecond."""

    plain = (
        "DateTime(timezone=True).with_variant(sa.dialects.mysql.DATETIME(fsp=6), 'mysql')"
        ".with_variant(sa.dialects.mysql.DATETIME(fsp=6), 'mariadb')"
    )
    impl = DateTime

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name in MARIADB:
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime(timezone=dialect.name == "postgresql"))

    def bind_processor(self, dialect: Dialect) -> Any:
        if dialect.name != "sqlite":
            return super().bind_processor(dialect)

        def process(value: datetime | None) -> str | None:
            # SQLAlchemy's own text, in a fifth of its time: an edit writes hundreds of times.
            is_utc = value is not None and value.tzinfo is UTC
            moment = value if is_utc else self.process_bind_param(value, dialect)
            return None if moment is None else moment.isoformat(" ", "microseconds")[:_WITHOUT_OFFSET]

        return process

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r}: expected an aware datetime (with a time zone)")
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.replace(tzinfo=None)

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        read = self.impl_instance.result_processor(dialect, coltype)

        def process(
            value: Any,
        ) -> datetime | None:  # one call for each of thousands of times that a page reads
            if value is None:
                return None
            moment: Any = value if read is None else read(value)
            # A sum takes a ninth of what replace() takes.
            aware: datetime = _EPOCH + (moment - _ZERO) if moment.tzinfo is None else moment.astimezone(UTC)
            return aware

        return process


class _Told(dict[str, Any]):
    """What each dialect is told about an index; who asks for one loads that one alone, who asks for all loads all."""

    def __init__(self, options: Mapping[str, Any], where: TextClause) -> None:
        super().__init__()
        self._options, self._where = options, where

    def __missing__(self, dialect: str) -> Any:
        found = self[dialect] = self._options[dialect]
        if dialect in _PARTIAL:
            found["where"] = self._where
        return found

    def __iter__(self) -> Iterator[str]:
        for dialect in _PARTIAL:
            _ = self[dialect]
        return super().__iter__()

    def values(self) -> Any:
        """Return what all dialects are told."""
        return [self[dialect] for dialect in self]


class PartialIndex(Index):
    """An index of some rows alone, on a database that can do that; on others of all.

    SQLAlchemy loads the dialect of each database that an index says something about, when the index is made; this one
    says it to who asks for it.

    :param where: which rows, in SQL.
    """

    def __init__(self, name: str, *columns: str, where: TextClause) -> None:
        super().__init__(name, *columns)
        self._where = where

    @cached_property
    def dialect_options(self) -> Any:
        """What dialects are told, by their names."""
        return _Told(super().dialect_options, self._where)


class later(FunctionElement[datetime]):
    """In SQL, the moment that is so many seconds after another one; as exact as that, and comparable to any."""

    name, inherit_cache = "later", True
    type = UtcDateTime()


@compiles(later)
def _later(element: Any, compiler: Any, **kw: Any) -> str:
    moment, seconds = (compiler.process(each, **kw) for each in element.clauses)
    return f"({moment} + ({seconds}) * INTERVAL '1 second')"


@compiles(later, "sqlite")
def _later_in_text(element: Any, compiler: Any, **kw: Any) -> str:
    # Stored as a text of fixed length: SQLite's own functions know three of its six decimals.
    moment, seconds = (compiler.process(each, **kw) for each in element.clauses)
    whole = f"strftime('%Y-%m-%d %H:%M:%S', substr({moment}, 1, 19), ({seconds}) || ' seconds')"
    return f"CASE WHEN ({seconds}) = 0 THEN {moment} ELSE {whole} || substr({moment}, 20) END"


@compiles(later, *MARIADB)
def _later_in_mariadb(element: Any, compiler: Any, **kw: Any) -> str:
    moment, seconds = (compiler.process(each, **kw) for each in element.clauses)
    moment = f"CAST({moment} AS DATETIME(6))"  # a parameter is a text
    return f"IF(({seconds}) = 0, {moment}, TIMESTAMPADD(SECOND, {seconds}, {moment}))"


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


# -- kinds


def _schema(**parts: Any) -> dict[str, Any]:
    return parts


class Kind:
    """A kind of value.

    :ivar python: the Python type, in words.
    :ivar column: the type of the column, as SQLAlchemy takes it.
    :ivar form: the JSON schema of what answers hold.
    :ivar limits: what the schema of requests has besides.
    :ivar expected: what a value must be, in words.
    :ivar in_json: the same in the words of JSON.
    :ivar suffix: ends the name in JSON.
    """

    python: str
    column: Any
    form: dict[str, Any]
    limits = _schema()
    expected = in_json = suffix = ""

    def takes(self, value: Any) -> bool:
        """Whether a value is right."""
        return True

    def fault(self, value: Any) -> str | None:
        """Return what is expected instead of a value; ``None`` if it is right."""
        return None if self.takes(value) else self.expected

    def read(self, key: str, value: Any) -> Any:
        """Return the value that JSON has under a key.

        :raises ValueError: says what is expected, or is an InvalidRule.
        """
        return value

    def write(self, value: Any) -> Any:
        """Return a value as JSON has it."""
        return value


class Text(Kind):
    """A text on one line.

    :param expected: in words, if that is more than a length.
    :param blank: whether blanks alone will do.
    :param lines: whether it may have several lines, and control characters.
    """

    python, form = "text", _schema(type="string")

    def __init__(self, longest: int, expected: str = "", blank: bool = True, lines: bool = False) -> None:
        self.column = Exact(longest) if longest <= _LONGEST_VARCHAR else LongText()
        self.limits = {"minLength": 1, "maxLength": longest} | ({} if blank else {"pattern": r"\S"})
        self.expected = self.in_json = expected or f"a text of 1 to {longest} characters{ONE_LINE}"
        self._longest, self._blank, self._lines = longest, blank, lines

    def takes(self, value: Any) -> bool:
        if not isinstance(value, str) or not 0 < len(value) <= self._longest:
            return False
        return (self._blank or bool(value.strip())) and (self._lines or not CONTROLS.search(value))


class Choice(Kind):
    """One of a few words."""

    python, column = "text", String(16)

    def __init__(self, *words: str) -> None:
        self.form = _schema(type="string", enum=list(words))
        self.expected = self.in_json = " or ".join(map(repr, words))
        self._words = words

    def takes(self, value: Any) -> bool:
        return isinstance(value, str) and value in self._words


class Number(Kind):
    """A whole number within bounds, both included."""

    python, column, form = "number", Integer, _schema(type="integer")

    def __init__(self, low: int, high: int) -> None:
        self.limits = {"minimum": low, "maximum": high}
        self.expected = self.in_json = f"a whole number from {low} to {high}"
        self._low, self._high = low, high

    def takes(self, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self._low <= value <= self._high


class Flag(Kind):
    """Yes or no."""

    python, column, form = "yes or no", Boolean, _schema(type="boolean")
    expected, in_json = "True or False", "true or false"

    def takes(self, value: Any) -> bool:
        return isinstance(value, bool)

    def read(self, key: str, value: Any) -> bool:
        return dialects.read_flag(key, value)


class Length(Kind):
    """A length of time; minutes in JSON.

    :param low: the shortest in minutes, 0 or 1; ``None``: also one before zero.
    :param whole: whole minutes only.
    """

    python, column, form, suffix = "`timedelta`", Seconds, _schema(type="number"), "_minutes"

    def __init__(self, low: int | None = 0, whole: bool = False) -> None:
        lowest = -MAX_DAYS * 24 * 60 if low is None else low
        self.limits = {
            **({"type": "integer"} if whole else {}),
            "minimum": lowest,
            "maximum": MAX_DAYS * 24 * 60,
        }
        span = f"{', ' if whole else ' '}from {_FEWEST[low]} to {MAX_DAYS:,} days"
        self.expected = f"a timedelta{' of whole minutes' if whole else ''}{span}"
        self.in_json = f"a number of {'whole ' if whole else ''}minutes{span}"
        self._low, self._whole = lowest * _MINUTE, whole

    def takes(self, value: Any) -> bool:
        if not isinstance(value, timedelta) or (self._whole and value % _MINUTE):
            return False
        return self._low <= value <= _LONGEST

    def read(self, key: str, value: Any) -> timedelta:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or abs(value) > 10**8:
            raise ValueError("a number of minutes")
        return timedelta(seconds=round(value * 60))

    def write(self, value: timedelta) -> float:
        seconds = value.total_seconds()
        return int(seconds // 60) if seconds % 60 == 0 else seconds / 60


class WallClock(Kind):
    """A day and a time on the wall clock of the template's zone: naive, whole minutes."""

    python, column, form = "naive `datetime`", WallDateTime, _schema(type="string")
    expected = in_json = "a naive datetime: the wall-clock time in the template's zone"

    def fault(self, value: Any) -> str | None:
        if not isinstance(value, datetime) or value.tzinfo is not None:
            return self.expected
        return "whole minutes: slot keys have no seconds" if value.second or value.microsecond else None

    def read(self, key: str, value: Any) -> datetime:
        moment = read_moment(value)
        if moment.tzinfo is not None:
            raise ValueError("the wall clock in the template's zone, without an offset")
        return moment

    def write(self, value: datetime) -> str:
        return write_moment(value)


class FirstStart(WallClock):
    """A wall-clock time from which a rule counts."""

    def fault(self, value: Any) -> str | None:
        expected = super().fault(value)
        if expected is None and value.year not in YEARS:
            return f"{self.expected}, {_IN_YEARS}"
        return expected


class Clock(Kind):
    """A time of day."""

    python, column, form = "`time`", Time, _schema(type="string")
    limits = _schema(pattern="^[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?$")
    expected, in_json = "a time of day", "a time of day as HH:MM"

    def takes(self, value: Any) -> bool:
        return isinstance(value, time)

    def read(self, key: str, value: Any) -> time:
        return dialects.read_clock(key, value)

    def write(self, value: time) -> str:
        return value.isoformat("seconds" if value.second else "minutes")


class Listed(Kind):
    """A list in one column; ``None`` means the empty one."""

    limits = _schema(maxItems=MAX_ENTRIES)


class Starts(Listed):
    """Single wall-clock times.

    :param days: whole days too.
    """

    python, form = "list", _schema(type="array", items={"type": "string"})

    def __init__(self, days: bool = False) -> None:
        self.column = TrackedList.as_mutable(Moments())
        self.expected = f"a list of naive datetimes{' and dates' if days else ''}"
        self.in_json = f"a list of YYYY-MM-DDTHH:MM{' or YYYY-MM-DD' if days else ''}"
        self._days = days

    def fault(self, value: Any) -> str | None:
        for moment in value:
            if not isinstance(moment, datetime) and not (self._days and isinstance(moment, date)):
                return self.expected
            if isinstance(moment, datetime) and (moment.tzinfo or moment.second or moment.microsecond):
                return "naive wall-clock times of whole minutes"
            if moment.year not in YEARS:
                return f"{self.expected} {_IN_YEARS}"
        return None

    def read(self, key: str, value: Any) -> list[Any]:
        if isinstance(value, list) and len(value) > MAX_ENTRIES:
            raise ValueError(f"at most {MAX_ENTRIES} dates")
        return list(dialects.read_moments(key, value))

    def write(self, value: Any) -> list[str]:
        return [write_moment(moment) for moment in value]


class DayRanges(Listed):
    """Pairs of first and last day, both included."""

    python, column = "list of pairs", TrackedList.as_mutable(DateRanges())
    form = _schema(
        type="array",
        items={"type": "array", "items": {"type": "string", "format": "date"}, "minItems": 2, "maxItems": 2},
    )
    expected = "a list of (first day, last day) pairs of dates"
    in_json = 'a list of pairs of days, such as [["2026-08-01", "2026-08-15"]]'

    def takes(self, value: Any) -> bool:
        return all(map(_is_range, value))

    def read(self, key: str, value: Any) -> list[tuple[date, date]]:
        if not isinstance(value, list) or not all(
            isinstance(each, list) and len(each) == 2 for each in value
        ):
            raise ValueError(self.in_json)
        if len(value) > MAX_ENTRIES:
            raise ValueError(f"at most {MAX_ENTRIES} pairs of days")
        return [(dialects.read_date(key, first), dialects.read_date(key, last)) for first, last in value]

    def write(self, value: Any) -> list[list[str]]:
        return [[day.isoformat() for day in pair] for pair in value]


class Data(Kind):
    """The app's own values by name: what JSON can hold."""

    python, column, form = "dict", TrackedDict.as_mutable(JSON()), _schema(type="object")
    expected, in_json = "a dict", "an object"

    def fault(self, value: Any) -> str | None:
        if not isinstance(value, dict):
            return self.expected
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            return "values that JSON can hold"
        return None

    def read(self, key: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError(self.in_json)
        return value

    def write(self, value: Any) -> dict[str, Any]:
        return dict(value)


class Counted(Kind):
    """A whole number that nobody gives: an id, or how often something changed."""

    python, form = "number", _schema(type="integer")

    def __init__(self, column: Any = Id) -> None:
        self.column = column


class Instant(Kind):
    """A moment that the library notes: aware, UTC."""

    python, column = "aware `datetime`", UtcDateTime
    form = _schema(type="string", format="date-time")

    def write(self, value: datetime) -> str:
        return write_moment(value)


def read_moment(value: Any) -> datetime:
    """Return a time written as ISO 8601, naive or with an offset, in whole minutes.

    :raises ValueError: says what is expected.
    """
    expected = "a date and time as YYYY-MM-DDTHH:MM"
    if not isinstance(value, str) or not _MOMENT.fullmatch(value):
        raise ValueError(expected)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(expected) from None
    if moment.second or moment.microsecond:
        raise ValueError("whole minutes")
    return moment


def write_moment(moment: date) -> str:
    """Return a day, a wall-clock time (naive) or an instant (aware; in UTC) as ISO 8601."""
    if not isinstance(moment, datetime):
        return moment.isoformat()
    if moment.tzinfo is not None:
        return moment.astimezone(UTC).isoformat()
    return moment.isoformat(timespec="auto" if moment.second or moment.microsecond else "minutes")


def _is_range(pair: Any) -> bool:
    try:
        first, last = pair
    except (TypeError, ValueError):
        return False
    plain = all(isinstance(day, date) and not isinstance(day, datetime) for day in (first, last))
    return plain and bool(first <= last)


def table_of(model: type[Any]) -> Table:
    """Return a model's table."""
    table: Table = model.__table__
    return table


#: What nobody can change in place. A table of types, for a copy of each of these costs as much as ten look-ups.
_FIXED = frozenset((type(None), bool, int, float, str, bytes, datetime, date, time, timedelta))


def copy_of_value(value: Any) -> Any:
    """Return a value of a column as it is now, whatever happens to the row that it came from."""
    return value if type(value) in _FIXED else deepcopy(plain(value))


def plain(value: Any) -> Any:
    """Return a value of a column without its tie to the row that it came from."""
    return dict(value) if isinstance(value, dict) else list(value) if isinstance(value, list) else value
