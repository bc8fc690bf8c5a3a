"""What a change of a series means, as pure values: computed once, shown by a preview, written by an edit."""

from .changes import Changes, read_changes
from .edit import Case, plan_edit
from .ending import EndPlan, Reach, is_taken, plan_end, plan_restore, reach_from, reach_of, restored
from .result import EditPlan, RowChange, SegmentChange, SeriesReport
from .rows import RowState, row_of_offer, rule_times
from .segments import bound_at, find_segment, in_order
from .single import plan_this

__all__ = [
    "Case",
    "Changes",
    "EditPlan",
    "EndPlan",
    "Reach",
    "RowChange",
    "RowState",
    "SegmentChange",
    "SeriesReport",
    "bound_at",
    "find_segment",
    "in_order",
    "is_taken",
    "plan_edit",
    "plan_end",
    "plan_restore",
    "plan_this",
    "reach_from",
    "reach_of",
    "read_changes",
    "restored",
    "row_of_offer",
    "rule_times",
]
