"""Writing a plan fast: what many templates share, what is stored already, and what is inserted in bulk."""

from .chunks import Backlog, Chunk, Written, write_chunk
from .expansion import Expansion, Stretch, expand, pattern_of
from .screening import Screened, Unit, batches, screen

__all__ = [
    "Backlog",
    "Chunk",
    "Expansion",
    "Screened",
    "Stretch",
    "Unit",
    "Written",
    "batches",
    "expand",
    "pattern_of",
    "screen",
    "write_chunk",
]
