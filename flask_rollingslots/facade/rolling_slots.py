"""RollingSlots: everything that an app can ask for. Each call hands one piece of work to the room that does it."""

from __future__ import annotations

from ..extension import get_state, names_what_is_broken
from .offers import Offers
from .reads import Reads
from .reservations import Reservations
from .upkeep import Upkeep


@names_what_is_broken
class RollingSlots(Reads, Offers, Reservations, Upkeep):
    """Keeps bookable slots always there.

    All calls that decide or book join the app's session, flush, and leave the commit to the app. With ``dry_run`` a
    call returns what it would, writes nothing, locks nothing and sends no signal. With ``revision`` (of the template,
    as the person who decides saw it) a call raises ``StaleEdit`` if somebody changed it since. A refused call writes
    nothing.

    Every call raises ``InvalidRequest``, which names argument, value and what is expected, for what makes no sense,
    ``InvalidKey`` (one of them) for what is no ``<series id>@<YYYYMMDDTHHMM>``, and ``TemplateNotFound``,
    ``SlotNotFound`` or ``BookingNotFound`` for what is not there. ``key`` is a key or a slot everywhere, ``template``
    and ``booking`` an instance or its id.
    """


def current_slots() -> RollingSlots:
    """Return the ``RollingSlots`` of the current app.

    :raises NotRegistered: outside an app context, or if the app has none.
    """
    found: RollingSlots = get_state().facade
    return found
