"""The repository itself: the order of the rooms, the documentation, the benchmarks, tests that assert no time.

`test_layers.py` is the plan of the house; `test_docs.py` runs every snippet of the documentation.
"""
