"""What people decide about templates and slots: one slot in `test_decisions.py`, series in `test_wide_edits.py`.

`test_cuts.py` divides series, `test_locking.py` lets several decide at once, `test_machine.py` tries random decisions
against `month_model.py`, `test_guards.py` what the ORM may not do. `test_rule_overlaps.py` lets slots of a series
overlap each other.
"""

from each_database import site as any_site

__all__ = ["any_site"]
