"""The one door to decisions: `test_doors.py` asks for each of them through facade, HTTP and command line.

`test_what_was_decided.py` is about what a day that was taken away and fewer places sell, `test_what_stands.py` about
slots of a series that would overlap, and until when one may book; `decided.py` has what both ask for, at each door.
`test_query_counts.py` counts what the calls ask the database.
"""
