"""The one door to decisions: `test_doors.py` asks for each of them through facade, HTTP and command line.

`test_query_counts.py` counts what the calls ask the database.
"""
