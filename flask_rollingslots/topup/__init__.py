"""The use case: gate, window, plan, fill, run row; in its own session, and never in a visitor's way."""

from .executors import Executor
from .job import TopUp
from .request import TopUpRequest
from .runner import Runner

__all__ = ["Executor", "Runner", "TopUp", "TopUpRequest"]
