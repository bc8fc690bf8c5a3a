"""Is every promised slot stored, why is a slot (not) there, and what is wrong with the deployment.

`test_health.py`, `test_explain.py` and `test_doctor.py`, in this order.
"""
