"""Rules without a database: expansion, zones, grids, dialects, descriptions.

`test_conformance.py` compares with `data/`, facts from elsewhere; `oracle.py` is the slow way to the same answer.
"""
