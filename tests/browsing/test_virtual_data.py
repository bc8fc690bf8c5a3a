"""Virtual slots share what their template says of itself, and each may still be changed alone."""

from __future__ import annotations

import pickle
import tracemalloc
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from helpers import A_WEEK, MONDAY

if TYPE_CHECKING:
    from helpers import Site

#: Some 16 KB in many small pieces.
LARGE: dict[str, Any] = {"notes": [{"text": f"note {number}"} for number in range(700)]}


def test_large_data_is_not_copied_to_each_virtual_slot(site: Site) -> None:
    """A week of virtual slots of a template with 16 KB of data takes less memory than the data of five slots."""
    site.add(data=LARGE)
    site.session.expire_all()
    tracemalloc.start()
    notes = pickle.loads(pickle.dumps(LARGE))  # noqa: S301 (our own)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    tracemalloc.start()
    slots = site.week()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(slots) == A_WEEK
    assert peak < 8 * size
    assert slots[-1].data == notes == slots[0].rolling_data


def test_the_data_of_one_virtual_slot_is_its_own(site: Site) -> None:
    """Whoever changes data of a virtual slot, also deep within, changes no other slot and not the template."""
    template = site.add(data={"price": 12, "tags": ["new"]})
    first, second, third = site.week()[:3]
    first.data["price"] = 1
    first.data["tags"].append("odd")
    second.data = {"price": 3}
    assert first.data == {"price": 1, "tags": ["new", "odd"]}
    assert second.data == {"price": 3}
    assert third.data == template.data == {"price": 12, "tags": ["new"]}
    assert site.week()[0].data == {"price": 12, "tags": ["new"]}
    assert not site.session.dirty


def test_a_virtual_slot_that_an_app_stores_has_its_data(site: Site) -> None:
    """Whoever adds a virtual slot to the session stores the data that it shared until then."""
    site.add(data={"price": 12})
    slot = site.slots.between(MONDAY, MONDAY + timedelta(days=1))[0]
    site.session.add(slot)
    site.session.commit()
    assert site.slots.get(slot.key).data == {"price": 12}
