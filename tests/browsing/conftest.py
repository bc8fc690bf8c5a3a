"""What a reader sees: stored and virtual slots merged, searches, the next ones, a slot by its key.

All of it is in `test_browsing.py`; how many queries it takes is in `facade/test_query_counts.py`.
"""
