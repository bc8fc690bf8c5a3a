"""The example apps: each does what the documentation says of it.

`test_examples.py` runs them as their readers would; `test_examples_any_time.py` at other moments.
"""
