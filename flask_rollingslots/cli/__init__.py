"""``flask slots …``: the calls of the facade, for people at a terminal. Each file holds a few commands."""

from . import deciding, files, generating, keeping, looking
from .group import slots_group

__all__ = ["deciding", "files", "generating", "keeping", "looking", "slots_group"]
