"""The use case: gate, window, plan, fill, run row; in its own session, and never in a visitor's way."""

from .following import generate_distributed, generate_here
from .job import TopUp
from .ordering import order
from .pruning import prune
from .request import FillRequest
from .run import Interrupted
from .runner import Runner

__all__ = [
    "FillRequest",
    "Interrupted",
    "Runner",
    "TopUp",
    "generate_distributed",
    "generate_here",
    "order",
    "prune",
]
