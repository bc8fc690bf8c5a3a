"""What people decide about templates and slots: create, edit, cancel, delete, restore, complete."""

from flask_rollingslots.values import check_scope

from .edits import apply_edit, edit
from .endings import (
    cancel,
    cancel_date,
    cancel_future,
    complete,
    delete,
    delete_series,
    restore,
    restore_series,
)
from .plans import CancelledKeys, EditPlan, SeriesReport, SwitchReport, TemplateChange
from .storage import check_unchanged
from .templates import change_series, change_template, check_revision, create, draft, set_active

__all__ = [
    "CancelledKeys",
    "EditPlan",
    "SeriesReport",
    "SwitchReport",
    "TemplateChange",
    "apply_edit",
    "cancel",
    "cancel_date",
    "cancel_future",
    "change_series",
    "change_template",
    "check_revision",
    "check_scope",
    "check_unchanged",
    "complete",
    "create",
    "delete",
    "delete_series",
    "draft",
    "edit",
    "restore",
    "restore_series",
    "set_active",
]
