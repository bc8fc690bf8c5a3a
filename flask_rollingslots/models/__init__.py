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
from .reading import (
    fingerprint,
    is_decided,
    load_shown,
    load_slots,
    load_specs,
    load_stored,
    newest_of,
    pruned_until,
    row_of,
    segments,
    template_id_of,
    virtual_slot,
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
    "fingerprint",
    "forget_busy",
    "from_us",
    "is_decided",
    "live_places",
    "load_busy",
    "load_shown",
    "load_slots",
    "load_specs",
    "load_stored",
    "make_models",
    "mark_busy",
    "newest_of",
    "pruned_until",
    "row_of",
    "segments",
    "table_of",
    "template_id_of",
    "to_us",
    "virtual_slot",
]
