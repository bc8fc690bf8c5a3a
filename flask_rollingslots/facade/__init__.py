"""RollingSlots: one class, the only door to decisions; what its calls return is here too."""

from typing import TYPE_CHECKING

from ..events import BookingView, Event
from ..extension import Authorizer
from ..lazy import lazy_names
from .rolling_slots import RollingSlots, current_slots

if TYPE_CHECKING:
    from ..booking.repeating import LONGEST_STEP, MOST_WEEKS, FreeSlot, RefusedWeek, RepeatReport
    from ..browsing import SeriesEntry
    from ..feeds import Calendar, Exported, Imported, SecretFeed
    from ..health import Explanation, Finding, HealthReport
    from ..series.closing import CancelledKeys, ClosingReport
    from ..series.edits import EditPlan
    from ..series.endings import SeriesReport
    from ..series.templates import SwitchReport, TemplateChange
    from ..statistics import Figures, Stats
    from ..views import SlotView, TemplateView

__all__ = [
    "LONGEST_STEP", "MOST_WEEKS", "Authorizer", "BookingView", "Calendar", "CancelledKeys", "ClosingReport",
    "EditPlan", "Event", "Explanation", "Exported", "Figures", "Finding", "FreeSlot", "HealthReport", "Imported",
    "RefusedWeek", "RepeatReport", "RollingSlots", "SecretFeed", "SeriesEntry", "SeriesReport", "SlotView", "Stats",
    "SwitchReport", "TemplateChange", "TemplateView", "current_slots",
]  # fmt: skip

__getattr__ = lazy_names(
    __name__,
    {
        ".booking.repeating": "LONGEST_STEP MOST_WEEKS FreeSlot RefusedWeek RepeatReport",
        ".browsing": "SeriesEntry",
        ".feeds": "Calendar Exported Imported SecretFeed",
        ".health": "Explanation Finding HealthReport",
        ".series.closing": "CancelledKeys ClosingReport",
        ".series.edits": "EditPlan",
        ".series.endings": "SeriesReport",
        ".series.templates": "SwitchReport TemplateChange",
        ".statistics": "Figures Stats",
        ".views": "SlotView TemplateView",
    },
)
