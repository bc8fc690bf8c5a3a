"""Writing a plan fast: what many templates share, what is stored already, and what is inserted in bulk."""

from .chunks import Backlog, Chunk, Written, write_chunk
from .expansion import Expansion, expand, pattern_of
from .screening import UNITS_AT_ONCE, Unit, batches, plan_by_rows, screen

__all__ = [
    "UNITS_AT_ONCE",
    "Backlog",
    "Chunk",
    "Expansion",
    "Unit",
    "Written",
    "batches",
    "expand",
    "pattern_of",
    "plan_by_rows",
    "screen",
    "write_chunk",
]
