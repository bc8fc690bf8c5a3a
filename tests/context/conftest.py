"""Which database is asked: an app that reads from replicas decides on its primary.

`test_replicas.py` does so with rooms that decide; `facade/test_doors.py` with every decision at every door.
"""
