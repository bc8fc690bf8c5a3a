"""Writing a plan fast: what many templates share, and what a comparison as a whole must not overlook.

All of it is in `test_screening.py`; who may write at all is in `topup/`.
"""
