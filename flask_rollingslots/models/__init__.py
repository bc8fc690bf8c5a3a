"""The tables: mixins for an app's own classes, and ``make_models`` for everybody else."""

from .columns import UtcDateTime
from .fields import FIELDS, Change, TemplateField, TemplateMixin, check_template
from .make import make_models
from .mixins import (
    BookingMixin,
    Hold,
    LeaseMixin,
    Models,
    ResourceMixin,
    RunMixin,
    Seen,
    ShardMixin,
    SlotMixin,
    expired_places,
    forget_busy,
    from_us,
    live_places,
    load_busy,
    mark_busy,
    plain,
    table_of,
    to_us,
)

__all__ = [
    "FIELDS",
    "BookingMixin",
    "Change",
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
