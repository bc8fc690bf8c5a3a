"""An index of some rows: what each database is told of it."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.schema import CreateIndex

from flask_rollingslots.models.kinds import PartialIndex


def test_an_index_of_some_rows_says_so_to_each_dialect_that_asks() -> None:
    """A partial index is one on SQLite and PostgreSQL, and a whole one on MariaDB; a copy of the table keeps that."""
    partial = PartialIndex("ix_some", "number", where=sa.text("number > 0"))
    table = sa.Table("things", sa.MetaData(), sa.Column("number", sa.Integer), partial)
    (copied,) = table.to_metadata(sa.MetaData()).indexes
    whole = "CREATE INDEX ix_some ON things (number)"
    for index in (partial, copied):
        assert str(CreateIndex(index).compile(dialect=mysql.dialect())) == whole
        for dialect in (sqlite.dialect(), postgresql.dialect()):
            assert str(CreateIndex(index).compile(dialect=dialect)) == f"{whole} WHERE number > 0"
        assert {name: str(value) for name, value in index.dialect_kwargs.items()} == {
            "sqlite_where": "number > 0",
            "postgresql_where": "number > 0",
        }
        assert len(index.dialect_kwargs) == 2
