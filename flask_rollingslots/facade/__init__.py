"""RollingSlots: one class, the only door to decisions; what its calls return is here too."""

from ..booking.repeating import LONGEST_STEP, MOST_WEEKS, FreeSlot, RefusedWeek, RepeatReport
from ..browsing import SeriesEntry
from ..events import BookingView, Event
from ..extension import Authorizer
from ..feeds import Calendar, Exported, Imported, SecretFeed
from ..health import Explanation, Finding, HealthReport
from ..series.closing import CancelledKeys, ClosingReport
from ..series.edits import EditPlan
from ..series.endings import SeriesReport
from ..series.templates import SwitchReport, TemplateChange
from ..statistics import Figures, Stats
from ..views import SlotView, TemplateView
from .rolling_slots import RollingSlots, current_slots

__all__ = [
    "LONGEST_STEP", "MOST_WEEKS", "Authorizer", "BookingView", "Calendar", "CancelledKeys", "ClosingReport",
    "EditPlan", "Event", "Explanation", "Exported", "Figures", "Finding", "FreeSlot", "HealthReport", "Imported",
    "RefusedWeek", "RepeatReport", "RollingSlots", "SecretFeed", "SeriesEntry", "SeriesReport", "SlotView", "Stats",
    "SwitchReport", "TemplateChange", "TemplateView", "current_slots",
]  # fmt: skip
