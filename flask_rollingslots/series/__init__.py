"""What people decide about templates and slots: create, edit, cancel, delete, restore, complete."""

from .altering import alter, check_revision, some_key
from .bulk import CancelledKeys, SwitchReport, cancel_slots, set_active
from .creating import create, draft
from .editing import Editor
from .ending import Ender, check_reason
from .reading import Desk, check_unchanged
from .single import cancel, check_scope, complete, delete, restore

__all__ = [
    "CancelledKeys",
    "Desk",
    "Editor",
    "Ender",
    "SwitchReport",
    "alter",
    "cancel",
    "cancel_slots",
    "check_reason",
    "check_revision",
    "check_scope",
    "check_unchanged",
    "complete",
    "create",
    "delete",
    "draft",
    "restore",
    "set_active",
    "some_key",
]
