"""The tables: mixins for an app's own classes, and ``make_models`` for everybody else."""

from .checks import check_template
from .columns import UtcDateTime
from .make import Models, make_models, table_of
from .mixins import BookingMixin, LeaseMixin, RunMixin, SlotMixin, TemplateMixin
from .reading import (
    fingerprint,
    load_later,
    load_specs,
    load_stored,
    row_of,
    segments,
    template_id_of,
    virtual_slot,
)

__all__ = [
    "BookingMixin",
    "LeaseMixin",
    "Models",
    "RunMixin",
    "SlotMixin",
    "TemplateMixin",
    "UtcDateTime",
    "check_template",
    "fingerprint",
    "load_later",
    "load_specs",
    "load_stored",
    "make_models",
    "row_of",
    "segments",
    "table_of",
    "template_id_of",
    "virtual_slot",
]
