"""Promised against stored: what rules leave out, and what a new zone table changes.

`test_exclusions.py` is about holidays and blackouts, `test_zone_tables.py` about moved rows.
"""
