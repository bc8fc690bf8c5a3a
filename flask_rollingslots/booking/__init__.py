"""Booking: places are taken by one conditional UPDATE, so that neither capacity nor a resource is ever oversold.

Everything joins the caller's transaction and commits nothing. All transactions lock in the same order: what one
person holds, then the exclusive resource, then the slots by id, then their bookings.
"""
