"""The table of parts of a run that several workers share."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from .columns import Id


class ShardMixin:
    """A part of a run that several workers share: a range of template ids, who fills it, and what came of it.

    The rows are working papers. Whatever happens to them, slots are the truth: a run that nobody finishes is given up,
    and the next one plans what is missing.
    """

    __tablename__ = "rolling_shard"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    run_id: Mapped[int] = mapped_column(Id)
    token: Mapped[int] = mapped_column(Id)
    #: Included; the range is for all templates of the run's request, or for one template's series.
    first_id: Mapped[int] = mapped_column(Id)
    last_id: Mapped[int] = mapped_column(Id)
    template_id: Mapped[int | None] = mapped_column(Id)
    status: Mapped[str] = mapped_column(String(16))
    priority: Mapped[int] = mapped_column(Integer, default=0)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    claim: Mapped[str | None] = mapped_column(String(40))
    until_ms: Mapped[int] = mapped_column(Id, default=0)
    done: Mapped[int] = mapped_column(Integer, default=0)
    results: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        table = cls.__tablename__
        return (
            UniqueConstraint("run_id", "first_id", "template_id", name=f"uq_{table}_run_id_first_id"),
            Index(f"ix_{table}_next", "run_id", "status", "priority"),
        )
