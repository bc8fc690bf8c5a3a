"""What people decide about templates and slots: create, edit, cancel, delete, restore, complete."""

from .altering import alter, check_revision, some_key
from .bulk import SwitchReport, cancel_slots, set_active
from .creating import create
from .editing import Editor
from .ending import Ender
from .reading import Desk
from .single import cancel, check_scope, complete, delete, restore

__all__ = [
    "Desk",
    "Editor",
    "Ender",
    "SwitchReport",
    "alter",
    "cancel",
    "cancel_slots",
    "check_revision",
    "check_scope",
    "complete",
    "create",
    "delete",
    "restore",
    "set_active",
    "some_key",
]
