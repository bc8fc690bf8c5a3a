"""``flask slots …``: the calls of the facade, for people at a terminal. Each file holds a few commands.

The group loads the files with its commands when somebody asks for one: an app that answers requests needs none.
"""

from .group import slots_group

__all__ = ["slots_group"]
