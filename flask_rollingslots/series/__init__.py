"""What people decide about templates and slots: create, edit, cancel, delete, restore, complete."""

from flask_rollingslots.revising import EditPlan, SeriesReport

from .altering import change_template, check_revision, some_key
from .bulk import CancelledKeys, SwitchReport, set_active
from .creating import create, draft
from .reading import check_unchanged
from .shims import (
    apply_edit,
    cancel,
    cancel_date,
    cancel_future,
    complete,
    delete,
    delete_series,
    edit,
    restore,
    restore_series,
)
from .single import check_scope
from .template_changes import TemplateChange, change_series

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
    "some_key",
]
