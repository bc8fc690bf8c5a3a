"""How an instant gets into a database and out of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import DateTime
from sqlalchemy.dialects import sqlite

from flask_rollingslots.models import UtcDateTime

#: Whole seconds, microseconds, the first and the last years.
MOMENTS = [
    datetime(2026, 1, 5, 10, tzinfo=UTC),
    datetime(2026, 1, 5, 23, 59, 59, 7, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime.max.replace(tzinfo=UTC),
]


@pytest.mark.parametrize("hours", [0, 5])
@pytest.mark.parametrize("moment", MOMENTS)
def test_sqlite_gets_the_text_that_sqlalchemy_would_write(moment: datetime, hours: int) -> None:
    """An instant of any zone is stored as the text of a plain DateTime in UTC, and read back as it was."""
    dialect = sqlite.dialect()
    kind = UtcDateTime().dialect_impl(dialect)
    plain = DateTime().dialect_impl(dialect)
    zone = timezone(timedelta(hours=hours if moment.year > 1 else 0) * (-1 if moment.year > 9000 else 1))
    text = kind.bind_processor(dialect)(moment.astimezone(zone))
    assert text == plain.bind_processor(dialect)(moment.replace(tzinfo=None))
    found = kind.result_processor(dialect, None)(text)
    assert (found, found.tzinfo) == (moment, UTC)


def test_sqlite_gets_no_naive_time() -> None:
    """A time without a zone is refused; none is none."""
    dialect = sqlite.dialect()
    kind = UtcDateTime().dialect_impl(dialect)
    bind = kind.bind_processor(dialect)
    assert bind(None) is None
    assert kind.result_processor(dialect, None)(None) is None
    with pytest.raises(ValueError, match="expected an aware datetime"):
        bind(datetime(2026, 1, 5))
