"""``flask slots …``: the calls of the facade, for people at a terminal. Each file holds a few commands."""

from . import generating, keeping, looking
from .group import slots_group

__all__ = ["generating", "keeping", "looking", "slots_group"]
