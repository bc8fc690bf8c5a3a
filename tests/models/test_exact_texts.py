"""Names, groups, resources, people and keys are the same only if each of their bytes is, on every database."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from each_database import site
from helpers import MONDAY

if TYPE_CHECKING:
    from helpers import Site

__all__ = ["site"]

#: Alike for a collation that forgives case, accents, or blanks at the end.
ALIKE = ("club a", "Club A", "club á", "club a ", "club  a", "\uff43lub a")


def groups_of(slots: Any) -> set[str]:
    """Return the groups of some slots."""
    return {slot.template.group for slot in slots}


def test_groups_that_look_alike(site: Site) -> None:
    """A list, a report, a closed day and a cancelled day of one group touch no other one."""
    for group in ALIKE:
        site.add(group=group, every=None, until_time=None)
    site.slots.generate()
    for group in ALIKE:
        assert groups_of(site.week(group=group)) == {group}
        assert [template.group for template in site.slots.templates(group=group)] == [group]
        assert set(site.slots.stats(group=group).groups) == {group}
    report = site.slots.cancel_date("club a", MONDAY.date())
    site.session.commit()
    assert len(report) == 1
    cancelled = [slot.template.group for slot in site.week() if slot.state == "cancelled"]
    assert cancelled == ["club a"]
    site.slots.close(MONDAY.date() + timedelta(days=1), group="Club A")
    site.session.commit()
    tuesday = (slot for slot in site.week() if slot.starts_at.day == 6)
    assert groups_of(slot for slot in tuesday if slot.is_bookable) == set(ALIKE) - {"Club A"}


def test_resources_that_look_alike(site: Site) -> None:
    """A booking of one court takes no other one whose name looks alike."""
    templates = [
        site.add(resource=name, exclusive=True, every=None, until_time=None, name=name) for name in ALIKE
    ]
    for template in templates:
        site.slots.book(f"{template.id}@20260105T1000")
        site.session.commit()
    assert site.session.query(site.slots.models.Resource).count() == len(ALIKE)


def test_people_that_look_alike(site: Site) -> None:
    """One person's bookings and idempotency keys are nobody else's."""
    template = site.add(capacity=50, every=None, until_time=None)
    key = f"{template.id}@20260105T1000"
    made = [site.slots.book(key, who=who).id for who in ALIKE]
    made += [site.slots.book(key, who="ada", idempotency_key=each).id for each in ALIKE]
    site.session.commit()
    assert len(set(made)) == 2 * len(ALIKE)
    assert site.slots.book(key, who="ada", idempotency_key="club a").id == made[len(ALIKE)]
    for who in ALIKE:
        query = site.db.select(site.slots.Booking).where(site.slots.Booking.who == who)
        assert [booking.who for booking in site.session.scalars(query)] == [who]


def test_names_that_look_alike(site: Site) -> None:
    """A query by name, of templates and of slots, finds what has that name."""
    for name in ALIKE:
        site.add(name=name, every=None, until_time=None)
    site.slots.generate(days=1)
    template, slot = site.slots.Template, site.slots.Slot
    for name in ALIKE:
        of_templates = site.session.scalars(site.db.select(template).where(template.name == name))
        assert [found.name for found in of_templates] == [name]
        assert [
            found.name for found in site.session.scalars(site.db.select(slot).where(slot.name == name))
        ] == [name]


@pytest.mark.parametrize(
    ("q", "names"),
    [
        ("halle", ["Halle", "HALLE 2"]),
        ("ÜBUNG", ["Übung", "übung"]),
        ("übung", ["Übung", "übung"]),
        ("ubung", ["Übung", "übung"]),
        ("straße", ["Straße"]),
        ("100%", ["100%"]),
        ("a_b", ["a_b"]),
        ("ΣΙΣΥΦΟΣ", ["σίσυφος"]),
    ],
)
def test_a_search_finds_the_same_everywhere(searchable: Site, q: str, names: list[str]) -> None:
    """Case and accents do not matter, of any letter; blanks do, and no sign has a meaning of its own."""
    assert sorted(t.name for t in searchable.slots.templates(q=q)) == sorted(names)
    pages = [t.name for t in searchable.slots.templates(q=q, limit=1)]
    assert pages == [t.name for t in searchable.slots.templates(q=q)][:1]


@pytest.fixture
def searchable(site: Site) -> Site:
    """A site whose templates are called in many ways."""
    for name in ("Halle", "HALLE 2", "Übung", "übung", "Straße", "100%", "1000", "a_b", "acb", "σίσυφος"):
        site.add(name=name, every=None, until_time=None)
    return site
