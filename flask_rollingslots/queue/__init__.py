"""The same work on workers elsewhere: messages, shards, and top-ups that somebody orders and does not wait for."""

from ..topup.executors import QueueExecutor
from .distributor import Distributor, connect
from .ordering import order

__all__ = ["Distributor", "QueueExecutor", "connect", "order"]
