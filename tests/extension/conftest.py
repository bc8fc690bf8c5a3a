"""Set-up in an app: what is found, what is refused, what is left alone.

`test_extension.py` is about apps of all shapes, `test_first_mistakes.py` about what newcomers do wrong, `test_start.py`
about what is loaded before it is needed.
"""
