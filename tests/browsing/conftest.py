"""What a reader sees: stored and virtual slots merged, searches, the next ones, a slot by its key.

That is in `test_browsing.py`; how many queries it takes is in `facade/test_query_counts.py`. Lists of bookings are in
`test_lists_of_bookings.py`, with the plans that databases make for them; those of series in `test_lists_of_series.py`.
"""
