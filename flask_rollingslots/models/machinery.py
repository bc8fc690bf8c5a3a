"""The tables that the machinery keeps: resources to lock, runs, leases, shards of a run, checks, feeds' addresses."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, declared_attr, mapped_column
from sqlalchemy.types import JSON

from .kinds import Exact, Id, UtcDateTime


class ResourceMixin:
    """A court, a room, a teacher that several templates share: the row to lock before it is taken."""

    __tablename__ = "rolling_resource"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(Exact(200))
    version: Mapped[int] = mapped_column(sa.Integer, default=0)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        return (sa.UniqueConstraint("name", name=f"uq_{cls.__tablename__}_name"),)


class RunMixin:
    """One recorded top-up: progress while it works, counts afterwards."""

    __tablename__ = "rolling_run"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    template_id: Mapped[int | None] = mapped_column(Id, index=True)
    trigger: Mapped[str] = mapped_column(sa.String(16))
    status: Mapped[str] = mapped_column(sa.String(16))
    owner: Mapped[str | None] = mapped_column(sa.String(100))
    token: Mapped[int | None] = mapped_column(Id)
    lease_name: Mapped[str | None] = mapped_column(Exact(64))
    started_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    window_start: Mapped[datetime | None] = mapped_column(UtcDateTime)
    window_end: Mapped[datetime | None] = mapped_column(UtcDateTime)
    done: Mapped[int] = mapped_column(sa.Integer, default=0)
    total: Mapped[int] = mapped_column(sa.Integer, default=0)
    created: Mapped[int] = mapped_column(sa.Integer, default=0)
    existing: Mapped[int] = mapped_column(sa.Integer, default=0)
    updated: Mapped[int] = mapped_column(sa.Integer, default=0)
    removed: Mapped[int] = mapped_column(sa.Integer, default=0)
    kept_booked: Mapped[int] = mapped_column(sa.Integer, default=0)
    expected: Mapped[int] = mapped_column(sa.Integer, default=0)
    opened: Mapped[int] = mapped_column(sa.Integer, default=0)
    closed: Mapped[int] = mapped_column(sa.Integer, default=0)
    skipped: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    results: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    error: Mapped[str | None] = mapped_column(sa.Text)

    @property
    def seconds(self) -> float | None:
        """How long the run took, or ``None`` while it works."""
        return (self.finished_at - self.started_at).total_seconds() if self.finished_at else None


class LeaseMixin:
    """Who may top up now, and what is known to be complete. All times are Unix time in milliseconds."""

    __tablename__ = "rolling_lease"

    name: Mapped[str] = mapped_column(Exact(64), primary_key=True)
    owner: Mapped[str | None] = mapped_column(sa.String(100))
    token: Mapped[int] = mapped_column(Id, default=0)
    until_ms: Mapped[int] = mapped_column(Id, default=0)
    confirmed_ms: Mapped[int] = mapped_column(Id, default=0)
    complete_until_ms: Mapped[int] = mapped_column(Id, default=0)
    fingerprint: Mapped[str | None] = mapped_column(sa.String(200))
    failures: Mapped[int] = mapped_column(sa.Integer, default=0)
    next_try_ms: Mapped[int] = mapped_column(Id, default=0)
    pruned_until_ms: Mapped[int] = mapped_column(Id, default=0)
    last_error: Mapped[str | None] = mapped_column(sa.Text)


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
    status: Mapped[str] = mapped_column(sa.String(16))
    priority: Mapped[int] = mapped_column(sa.Integer, default=0)
    attempts: Mapped[int] = mapped_column(sa.Integer, default=0)
    claim: Mapped[str | None] = mapped_column(Exact(40))
    until_ms: Mapped[int] = mapped_column(Id, default=0)
    done: Mapped[int] = mapped_column(sa.Integer, default=0)
    results: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        table = cls.__tablename__
        return (
            sa.UniqueConstraint("run_id", "first_id", "template_id", name=f"uq_{table}_run_id_first_id"),
            sa.Index(f"ix_{table}_next", "run_id", "status", "priority"),
        )


class CheckMixin:
    """What one template was last found complete with: so many stored slots, and a checksum of their starts.

    It only saves work. Without it, or where anything differs, a template is compared with its rule slot by slot. There
    is no foreign key: a row whose template is gone is deleted by a later top-up.

    :ivar rule: a digest of what the template said: a bulk UPDATE raises no revision.
    :ivar start_ms: the window that was compared, in milliseconds of Unix time; ``end_ms`` is excluded.
    :ivar from_ms: from when on all was stored: just behind the last slot that was missing, for it had started by then.
    :ivar basis: what else the slots follow from: offsets of the zone, holidays, versions of libraries.
    :ivar skipped: what a report says was left out, as JSON; empty: nothing.
    """

    __tablename__ = "rolling_check"

    template_id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    revision: Mapped[int] = mapped_column(sa.Integer)
    rule: Mapped[str] = mapped_column(sa.String(32))
    start_ms: Mapped[int] = mapped_column(Id)
    end_ms: Mapped[int] = mapped_column(Id)
    from_ms: Mapped[int] = mapped_column(Id)
    basis: Mapped[str] = mapped_column(sa.String(32))
    number: Mapped[int] = mapped_column(sa.Integer)
    checksum: Mapped[str] = mapped_column(sa.String(64))
    skipped: Mapped[str] = mapped_column(sa.Text)


class FeedAddressMixin:
    """Which secret address of a group's calendar holds: the one that carries this number.

    :param group_digest: SHA-256 of the group's name; empty: all groups. Databases differ in which texts are the same,
        and names may be too long for an index.
    """

    __tablename__ = "rolling_feed_address"

    group_digest: Mapped[str] = mapped_column(Exact(64), primary_key=True)
    number: Mapped[int] = mapped_column(Id, default=0)
