"""The tables: `test_fields.py` follows a new field of a template everywhere (`new_field.py` looks for it).

`test_changed_at.py` is about when something was last changed.
"""
