"""Reading: slots, templates and series, runs, bookings. Nothing here writes."""

from .bookings import BookingsAsked, bookings, history
from .merging import (
    between,
    complain,
    due_reminders,
    get,
    holes,
    merged,
    preview,
    promised_at,
    promised_by,
    row_at,
    upcoming,
    view,
)
from .searching import (
    SeriesEntry,
    check_aware,
    check_group,
    find_booking,
    find_run,
    find_template,
    runs,
    search,
    segments_of,
    series,
    templates,
    templates_in,
)
from .viewing import show_by_now

__all__ = [
    "BookingsAsked", "SeriesEntry", "between", "bookings", "check_aware", "check_group", "complain", "due_reminders",
    "find_booking", "find_run", "find_template", "get", "history", "holes", "merged", "preview", "promised_at",
    "promised_by", "row_at", "runs", "search", "segments_of", "series", "show_by_now", "templates", "templates_in",
    "upcoming", "view",
]  # fmt: skip
