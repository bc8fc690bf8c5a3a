"""The same work on workers elsewhere: messages, shards, and top-ups that somebody orders and does not wait for."""

from .distributor import Distributor, connect
from .messages import QueueExecutor
from .ordering import order

__all__ = ["Distributor", "QueueExecutor", "connect", "order"]
