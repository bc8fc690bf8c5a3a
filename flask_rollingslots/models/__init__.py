"""The tables: mixins for an app's own classes, and ``make_models`` for everybody else."""

from .columns import UtcDateTime
from .fields import FIELDS, Change, TemplateField, TemplateMixin, check_template
from .make import Models, make_models, plain, table_of
from .mixins import BookingMixin, FeedAddressMixin, LeaseMixin, ResourceMixin, RunMixin, SlotMixin
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
    "FIELDS",
    "BookingMixin",
    "Busy",
    "Change",
    "FeedAddressMixin",
    "Hold",
    "LeaseMixin",
    "Models",
    "ResourceMixin",
    "RunMixin",
    "Seen",
    "ShardMixin",
    "SlotMixin",
    "TemplateField",
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
    "plain",
    "table_of",
    "to_us",
]
