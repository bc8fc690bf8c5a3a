"""Everything in which databases differ, and what stands in front of them.

`test_pgbouncer.py` goes through a pooler; the rest is asked by the tests of all rooms, on each database.
"""
