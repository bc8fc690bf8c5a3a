"""The tables: mixins for an app's own classes, and ``make_models`` for everybody else."""

from .checks import check_template
from .columns import UtcDateTime
from .make import Models, make_models, table_of
from .mixins import BookingMixin, LeaseMixin, ResourceMixin, RunMixin, SlotMixin, TemplateMixin
from .occupancy import (
    Busy,
    Hold,
    Seen,
    expired_places,
    forget_busy,
    from_us,
    live_places,
    load_busy,
    mark_busy,
    to_us,
)
from .shards import ShardMixin

__all__ = [
    "BookingMixin",
    "Busy",
    "Hold",
    "LeaseMixin",
    "Models",
    "ResourceMixin",
    "RunMixin",
    "Seen",
    "ShardMixin",
    "SlotMixin",
    "TemplateMixin",
    "UtcDateTime",
    "check_template",
    "expired_places",
    "forget_busy",
    "from_us",
    "live_places",
    "load_busy",
    "make_models",
    "mark_busy",
    "table_of",
    "to_us",
]
