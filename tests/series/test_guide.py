"""A guide to recurring jobs, example by example: each test bears the name of the example that it shows to work."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import MONDAY, Site

from flask_rollingslots import Recurrence
from flask_rollingslots.errors import InvalidRequest, InvalidRule, SlotNotFound, StatusConflict

if TYPE_CHECKING:
    from collections.abc import Iterable

#: A job of a company: every Monday from nine to five.
JOB: dict[str, Any] = {
    "name": "ABC Company",
    "rrule": "FREQ=WEEKLY;COUNT=50",
    "dtstart": datetime(2026, 1, 5, 9),
    "duration": timedelta(hours=8),
    "every": None,
    "until_time": None,
    "data": {"business_name": "ABC Company"},
}


def job(site: Site, rule: dict[str, Any] | None = None, **fields: Any) -> Any:
    """Create a job by a rule object, and store the next five weeks."""
    if rule is not None:
        start = fields.get("dtstart", JOB["dtstart"])
        fields["rrule"] = Recurrence.from_json(rule, dtstart=start, timezone="UTC").rrule
    template = site.add(**{**JOB, **fields})
    site.slots.generate(days=35)
    return template


def names(slots: Iterable[Any]) -> list[str]:
    return [slot.data["business_name"] for slot in slots]


def following(site: Site, n: int = 6) -> list[Any]:
    found: list[Any] = site.slots.upcoming(1, n=n)
    return found


def test_creating_a_recurring_job(site: Site) -> None:
    """Every two months, twelve in all: the first is the job itself, and then it is over."""
    job(site, {"type": "monthly", "interval": 2, "count": 12}, dtstart=datetime(2026, 2, 1, 9))
    found = following(site, 20)
    assert len(found) == 12
    assert [slot.starts_at for slot in found[:2]] == [
        datetime(2026, 2, 1, 9, tzinfo=UTC),
        datetime(2026, 4, 1, 9, tzinfo=UTC),
    ]


def test_edit_single_instance_only(site: Site) -> None:
    """The one instance has the new name, the template and all others keep theirs."""
    template = job(site)
    key = following(site)[1].key
    site.slots.edit(key, "this", data={"business_name": "New Business Name"})
    site.session.commit()
    assert names(following(site, 4)) == ["ABC Company", "New Business Name", "ABC Company", "ABC Company"]
    assert template.data == {"business_name": "ABC Company"}
    assert site.slots.get(key).customised == ["data"]


def test_edit_this_and_future_events(site: Site) -> None:
    """From the instance on everything changes; what is before, completed or cancelled does not."""
    job(site)
    slots = following(site, 5)
    site.slots.complete(slots[3].key)
    site.slots.cancel(slots[4].key)
    site.slots.edit(slots[1].key, "this_and_future", data={"business_name": "New Business Name"})
    site.session.commit()
    assert names(following(site, 7)) == [
        "ABC Company", "New Business Name", "New Business Name", "ABC Company", "ABC Company", "New Business Name",
        "New Business Name",
    ]  # fmt: skip


def test_edit_all_events(site: Site) -> None:
    """The template and all uncustomised instances change, stored and virtual; the past stays."""
    template = job(site)
    site.clock.turn(days=15)
    site.slots.edit(following(site)[0].key, "all", name="New", data={"business_name": "New Business Name"})
    site.session.commit()
    assert set(names(following(site, 10))) == {"New Business Name"}
    past = site.slots.between(MONDAY, site.clock.now)
    assert names(past) == ["ABC Company"] * 3
    assert template.name == "New"


def test_converting_finite_to_forever(site: Site) -> None:
    """The end falls away; stored instances stay, and later ones appear virtually."""
    job(site, rrule="FREQ=WEEKLY;COUNT=4")
    stored = [row.key for row in site.rows()]
    site.slots.edit(stored[0], "all", rrule="FREQ=WEEKLY")
    site.session.commit()
    assert [row.key for row in site.rows()] == stored
    assert following(site, 10)[9].key == "1@20260309T0900"
    assert len(site.slots.between(datetime(2031, 1, 1, tzinfo=UTC), datetime(2031, 2, 1, tzinfo=UTC))) == 4


def test_converting_forever_to_finite(site: Site) -> None:
    """A forever series gets a count: only what nobody touched beyond its end goes."""
    job(site, rrule="FREQ=WEEKLY")
    keys = [row.key for row in site.rows()]
    site.slots.book(keys[3])
    site.session.commit()
    plan = site.slots.edit(keys[0], "all", rrule="FREQ=WEEKLY;COUNT=2")
    site.session.commit()
    assert [str(row.key) for row in plan.removed] == [keys[2], keys[4]]
    assert [str(row.key) for row in plan.kept_booked] == [keys[3]]
    assert [slot.key for slot in following(site, 20)] == [keys[0], keys[1], keys[3]]
    site.slots.generate(days=35)
    assert [slot.key for slot in following(site, 20)] == [keys[0], keys[1], keys[3]]


def test_only_the_parent_can_have_its_rule_edited(site: Site) -> None:
    """The rule of one instance cannot be edited."""
    job(site)
    with pytest.raises(InvalidRequest, match="rrule"):
        site.slots.edit(following(site)[1].key, "this", rrule="FREQ=DAILY")


def test_marking_an_instance_complete(site: Site) -> None:
    """Just this instance is completed; the others stay as they are."""
    job(site)
    slots = following(site, 3)
    assert site.slots.complete(slots[1].key).state == "completed"
    site.session.commit()
    assert [slot.state for slot in following(site, 3)] == ["open", "completed", "open"]
    with pytest.raises(StatusConflict):
        site.slots.cancel(slots[1].key)


def test_canceling_future_recurrences(site: Site) -> None:
    """All from a date on are cancelled, and the series ends there; it can be taken back."""
    template = job(site, rrule="FREQ=WEEKLY")
    single = site.rows()[4].key
    site.slots.cancel(single, reason="Holiday")
    report = site.slots.cancel_future(template, date(2026, 1, 19), reason="Contract ended")
    site.session.commit()
    assert len(report.changed) == 2
    assert [slot.state for slot in following(site, 20)] == [
        "open",
        "open",
        "cancelled",
        "cancelled",
        "cancelled",
    ]
    assert template.cancelled_from == datetime(2026, 1, 19)
    assert len(site.slots.restore_series(template).changed) == 2
    site.session.commit()
    states = {slot.key: slot.state for slot in following(site, 20)}
    assert states.pop(single) == "cancelled"
    assert set(states.values()) == {"open"}
    assert len(states) == 19


def test_delete_single_instance(site: Site) -> None:
    """Only this instance goes, and no top-up brings it back."""
    job(site)
    keys = [slot.key for slot in following(site, 3)]
    site.slots.delete(keys[1])
    site.session.commit()
    assert site.slots.generate(days=35).created == 0
    assert [slot.key for slot in following(site, 2)] == [keys[0], keys[2]]
    with pytest.raises(SlotNotFound):
        site.slots.get(keys[1])


def test_delete_all_future_instances(site: Site) -> None:
    """All from an instance on go, stored or not, except what is booked or completed."""
    job(site, rrule="FREQ=WEEKLY")
    keys = [slot.key for slot in following(site, 6)]
    site.slots.book(keys[3])
    site.slots.complete(keys[4])
    site.session.commit()
    report = site.slots.delete(keys[2], "this_and_future")
    site.session.commit()
    assert (report.kept_booked, report.kept_completed) == ([keys[3]], [keys[4]])
    assert [slot.key for slot in following(site, 20)] == [keys[0], keys[1], keys[3], keys[4]]
    site.slots.generate(days=100)
    assert len(following(site, 20)) == 4


def test_delete_entire_series(site: Site) -> None:
    """The whole future goes; the past and the template stay for the books."""
    job(site)
    site.clock.turn(days=15)
    site.slots.delete(following(site)[0].key, "all")
    site.session.commit()
    assert following(site, 20) == []
    assert len(site.slots.between(MONDAY, site.clock.now)) == 3


def test_new_job_model_fields(site: Site) -> None:
    """A rule object with ``null`` for what is absent, the link to the series, the original start, and four statuses."""
    rule = {"type": "weekly", "interval": 1, "count": 12, "until_date": None}
    template = job(site, rule)
    pending, cancelled, completed = following(site, 3)
    site.slots.cancel(cancelled.key)
    site.slots.complete(completed.key)
    site.session.commit()
    assert (pending.template, pending.original_start) == (template, datetime(2026, 1, 5, 9))
    now = site.clock.now
    assert pending.state == "open"  # pending: before its start
    assert pending.starts_at > now
    assert [site.slots.get(slot.key).state for slot in (cancelled, completed)] == ["cancelled", "completed"]
    site.clock.now = pending.starts_at  # uncompleted: started and not completed
    assert pending.state == "running"
    refused = {"type": "weekly", "count": 12, "until_date": "2026-12-31"}
    with pytest.raises(InvalidRule, match="until"):
        job(site, refused)


def test_cancel_future_recurrences(site: Site) -> None:
    """A request names the day as ISO text: what starts before it stays, all later ones are cancelled."""
    job(site, rrule="FREQ=WEEKLY")
    report = site.slots.cancel_future(1, date.fromisoformat("2026-01-19"))
    site.session.commit()
    assert (len(report.changed), report.segments) == (3, [1])
    assert [slot.state for slot in following(site, 9)] == ["open"] * 2 + ["cancelled"] * 3


def test_create_job_with_recurrence(site: Site) -> None:
    """The rule object of a request becomes a template."""
    job(site, {"type": "monthly", "interval": 2, "count": 12, "until_date": None})
    assert len(following(site, 50)) == 12


def test_create_a_forever_series(site: Site) -> None:
    """``end: never`` has occurrences in any year, all virtual beyond what is stored."""
    job(site, {"type": "weekly", "interval": 1, "end": "never"})
    found = site.slots.between(datetime(2030, 6, 1, tzinfo=UTC), datetime(2030, 7, 1, tzinfo=UTC))
    assert len(found) == 4
    assert all(slot.is_virtual for slot in found)


@pytest.mark.parametrize(("scope", "changed"), [("this_only", 1), ("this_and_future", 4), ("all", 5)])
def test_update_job_with_scope(site: Site, scope: str, changed: int) -> None:
    """Each scope, by the name that a request bears, changes its part."""
    job(site)
    site.slots.edit(following(site)[1].key, scope, data={"business_name": "New Name"})
    site.session.commit()
    assert names(following(site, 5)).count("New Name") == changed


@pytest.mark.parametrize(("scope", "left"), [("this_only", 4), ("this_and_future", 1), ("all", 0)])
def test_delete_recurring_with_scope(site: Site, scope: str, left: int) -> None:
    """Each scope deletes its part of the series."""
    job(site, rrule="FREQ=WEEKLY;COUNT=5")
    site.slots.delete(following(site)[1].key, scope)
    site.session.commit()
    assert len(following(site, 50)) == left


def test_materialize_a_virtual_occurrence(site: Site) -> None:
    """A virtual occurrence becomes a row once, whoever asks how often."""
    job(site, rrule="FREQ=WEEKLY")
    key = following(site, 9)[8].key
    first = site.slots.materialize(key)
    assert site.slots.materialize(key).id == first.id
    with pytest.raises(SlotNotFound):
        site.slots.materialize("1@20260303T1000")


def test_fetching_events_for_calendar_display(site: Site) -> None:
    """One call returns what is stored and what is not, without deleted ones; cancelled ones say so."""
    job(site, rrule="FREQ=WEEKLY")
    keys = [slot.key for slot in following(site, 8)]
    site.slots.cancel(keys[1])
    site.slots.delete(keys[2])
    site.session.commit()
    found = site.slots.between(MONDAY, MONDAY + timedelta(days=56))
    shown = [slot.key for slot in found if slot.state != "cancelled"]
    assert shown == [keys[0], *keys[3:]]
    assert [slot.is_virtual for slot in found].count(True) == 3


def test_displaying_recurrence_information(site: Site) -> None:
    """A slot says which series it belongs to, whether it is virtual, and its rule can be put in words."""
    template = job(site, {"type": "weekly", "interval": 2, "end": "never"})
    slot = following(site)[5]
    assert (slot.series_id, slot.is_virtual, slot.original_start) == (1, True, datetime(2026, 3, 16, 9))
    assert template.recurrence.describe() == "every 2 weeks on Monday"


def test_edit_dialog_options(site: Site) -> None:
    """What a dialog would show before it is applied is what then happens."""
    job(site)
    key = following(site)[2].key
    preview = site.slots.preview_edit(key, "this_and_future", start=time(10), data={"business_name": "New"})
    assert preview.to_dict()["counts"]["changed"] == 3
    applied = site.slots.apply_edit(preview)
    site.session.commit()
    assert applied.to_dict() == preview.to_dict()
    assert [slot.starts_at.hour for slot in following(site, 4)] == [9, 9, 10, 10]


def test_check_whether_it_is_a_recurring_instance_before_editing(site: Site) -> None:
    """A slot says by its template whether it repeats; a single one is edited alone, a repeated one in every scope."""
    job(site)
    single = job(site, rrule=None)
    alone = site.slots.upcoming(single.id, n=5)
    repeated = following(site)[2]
    assert [slot.template.rrule is not None for slot in (*alone, repeated)] == [False, True]
    counts = [
        site.slots.preview_edit(repeated.key, scope, capacity=2).to_dict()["counts"]["changed"]
        for scope in ("this", "this_and_future", "all")
    ]
    assert counts == [1, 3, 5]
    assert site.slots.preview_edit(alone[0].key, "this", capacity=2).to_dict()["counts"]["changed"] == 1


def test_virtual_occurrences(site: Site) -> None:
    """Years and centuries ahead there are occurrences with series and original start, and none is stored."""
    job(site, rrule="FREQ=DAILY")
    for year in (2031, 2400):
        start = datetime(year, 3, 1, tzinfo=UTC)
        found = site.slots.between(start, start + timedelta(days=7))
        assert [slot.original_start for slot in found] == [datetime(year, 3, day, 9) for day in range(1, 8)]
        assert {(slot.is_virtual, slot.series_id) for slot in found} == {(True, 1)}
    made = site.slots.materialize(found[0].key)
    assert (made.is_virtual, len(site.rows())) == (False, 36)


def test_jobs_list_and_search(site: Site) -> None:
    """A forever job that began long ago is found in any future range; an ended one is not."""
    job(site, rrule="FREQ=WEEKLY", dtstart=datetime(2020, 1, 6, 9))
    job(site, rrule="FREQ=WEEKLY;COUNT=3", dtstart=datetime(2020, 1, 6, 9))
    found = site.slots.between(datetime(2028, 1, 1, tzinfo=UTC), datetime(2028, 1, 8, tzinfo=UTC))
    assert [slot.series_id for slot in found] == [1]


def test_expandable_preview_of_upcoming_occurrences(site: Site) -> None:
    """Five, then five more, at most two hundred; a click makes a real job that can be edited."""
    job(site, rrule="FREQ=WEEKLY")
    first = following(site, 5)
    more = site.slots.upcoming(1, n=5, after=first[-1].starts_at)
    assert [slot.key for slot in first + more] == [slot.key for slot in following(site, 10)]
    with pytest.raises(InvalidRequest):
        site.slots.upcoming(1, n=201)
    site.slots.edit(more[-1].key, "this", start=datetime(2026, 3, 10, 14))
    site.session.commit()
    assert site.slots.get(more[-1].key).starts_at == datetime(2026, 3, 10, 14, tzinfo=UTC)


def test_preserve_completed_and_canceled_instances(site: Site) -> None:
    """Whatever the series does, completed and cancelled instances keep their time and their data."""
    job(site)
    slots = following(site, 3)
    site.slots.complete(slots[0].key)
    site.slots.cancel(slots[1].key, reason="Ill")
    site.slots.edit(
        slots[2].key, "all", start=time(12), data={"business_name": "New"}, duration=timedelta(hours=1)
    )
    site.session.commit()
    found = following(site, 3)
    assert [(slot.state, slot.starts_at.hour, slot.data["business_name"]) for slot in found] == [
        ("completed", 9, "ABC Company"),
        ("cancelled", 9, "ABC Company"),
        ("open", 12, "New"),
    ]


def test_index_queries(site: Site) -> None:
    """The queries by series and original start, and by start, are served by indexes."""
    tables = site.db.inspect(site.db.engine)
    name = site.slots.Slot.__tablename__
    unique = [each["column_names"] for each in tables.get_unique_constraints(name)]
    assert ["series_id", "original_start"] in unique
    assert {"starts_at", "template_id"} <= {each["column_names"][0] for each in tables.get_indexes(name)}


def test_use_transactions_when_updating_multiple_instances(site: Site) -> None:
    """An edit is in the caller's transaction: rolled back, nothing of it is left."""
    job(site)
    site.slots.edit(following(site)[1].key, "this_and_future", start=time(12))
    site.session.rollback()
    assert {slot.starts_at.hour for slot in following(site, 10)} == {9}
    assert site.session.query(site.slots.Template).count() == 1


@pytest.mark.parametrize(("kind", "instances"), [("monthly", 12), ("yearly", 11)])
def test_migration_path(site: Site, kind: str, instances: int) -> None:
    """Old repeat types become templates with a count, and their instances of ten years are generated once."""
    job(site, {"type": kind, "interval": 1, "count": 12})
    site.slots.generate(days=3660)
    assert len(site.rows()) == instances
    assert site.slots.generate(days=3660).created == 0


def test_too_many_instances(site: Site) -> None:
    """A forever series stores its window and no more."""
    job(site, rrule="FREQ=WEEKLY")
    site.slots.generate()
    assert len(site.rows()) == 5


def test_completed_instances_being_updated(site: Site) -> None:
    """No scope touches a completed instance, not even the one that names it."""
    job(site)
    key = following(site)[0].key
    site.slots.complete(key)
    site.session.commit()
    with pytest.raises(StatusConflict, match="completed"):
        site.slots.edit(key, "this", capacity=3)
    site.slots.edit(key, "all", capacity=3)
    site.session.commit()
    assert [slot.capacity for slot in following(site, 3)] == [1, 3, 3]


def test_deleted_parent_does_not_leave_instances(site: Site) -> None:
    """After the series is deleted no instance is shown, and none comes back."""
    job(site, rrule="FREQ=WEEKLY")
    site.slots.delete(following(site)[0].key, "all")
    site.session.commit()
    site.slots.generate(days=100)
    assert site.slots.between(MONDAY, MONDAY + timedelta(days=100)) == []


def test_calendar_shows_no_duplicate_events(site: Site) -> None:
    """Stored and virtual occurrences of one range are each shown once, also across a cut."""
    job(site, rrule="FREQ=WEEKLY")
    site.slots.edit(following(site, 3)[2].key, "this_and_future", start=time(11))
    site.session.commit()
    site.slots.generate(days=20)
    keys = [slot.key for slot in following(site, 30)]
    assert len(keys) == len(set(keys)) == 30
