"""The use case: gate, window, plan, fill, run row; in its own session, and never in a visitor's way."""

from .following import generate_distributed
from .job import TopUp
from .pruning import prune
from .request import FillRequest
from .runner import Runner

__all__ = ["FillRequest", "Runner", "TopUp", "generate_distributed", "prune"]
