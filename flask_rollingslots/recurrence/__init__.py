"""Recurrence rules: RFC 5545 and the JSON dialects, in the wall clock of a zone, as fast far away as near.

Pure: no Flask, no database, no clock.
"""

from .dialects import template_fields
from .recurrence import Recurrence

__all__ = ["Recurrence", "template_fields"]
