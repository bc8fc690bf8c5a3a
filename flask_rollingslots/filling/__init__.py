"""Writing a plan fast: what many templates share, what is stored already, and what is inserted in bulk."""

from .chunks import Backlog, write_chunk
from .expansion import pattern_of
from .screening import batches, plan_by_rows, screen

__all__ = ["Backlog", "batches", "pattern_of", "plan_by_rows", "screen", "write_chunk"]
