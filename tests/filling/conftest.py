"""Writing a plan fast: what many templates share, and what a comparison as a whole must not overlook.

The comparison is in `test_screening.py`, what is known without one in `test_checks.py`; who may write at all is in
`topup/`.
"""
