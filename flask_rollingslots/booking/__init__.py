"""Booking: places are taken by one conditional UPDATE, so that neither capacity nor a resource is ever oversold.

Everything joins the caller's transaction and commits nothing. All transactions lock in the same order: the person, then
the exclusive resource, then the templates and the slots by id, then their bookings.
"""
