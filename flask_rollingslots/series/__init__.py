"""What people decide about templates and slots: create, edit, cancel, delete, restore, complete."""

from ..values import check_scope
from .edits import EditPlan, apply_edit, edit
from .endings import (
    CancelledKeys,
    SeriesReport,
    cancel,
    cancel_date,
    cancel_future,
    complete,
    delete,
    delete_series,
    restore,
    restore_series,
)
from .storage import check_unchanged
from .templates import (
    SwitchReport,
    TemplateChange,
    change_series,
    change_template,
    check_revision,
    create,
    draft,
    set_active,
)

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
