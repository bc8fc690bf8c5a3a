"""What people decide about templates and slots: create, edit, cancel, delete, restore, complete."""

from .bulk import SwitchReport, cancel_slots, set_active
from .creating import create, draft
from .editing import Editor
from .ending import Ender
from .reading import Desk
from .single import cancel, check_scope, complete, delete, restore

__all__ = [
    "Desk",
    "Editor",
    "Ender",
    "SwitchReport",
    "cancel",
    "cancel_slots",
    "check_scope",
    "complete",
    "create",
    "delete",
    "draft",
    "restore",
    "set_active",
]
