"""JSON: templates come back as they were, and the shapes of other apps are understood."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from importlib.util import find_spec
from typing import Any

import pytest
from exchange_site import CREATED, Desk, entries, read, spec
from hypothesis import given, settings
from hypothesis import strategies as st
from recurrence.strategies import difficult_rules, rules, starts
from sqlalchemy import select

from flask_rollingslots.errors import InvalidRequest
from flask_rollingslots.feeds.entries import StoredTemplate
from flask_rollingslots.feeds.json_files import FILED, STATUSES, json_text
from flask_rollingslots.recurrence import Recurrence
from flask_rollingslots.values import Status

FULL: dict[str, Any] = {
    "name": "Hall",
    "group": "north",
    "active": False,
    "rrule": "FREQ=WEEKLY;BYDAY=MO,FR;COUNT=20",
    "dtstart": datetime(2026, 1, 1, 10),
    "timezone": "Europe/Madrid",
    "duration": timedelta(minutes=45),
    "every": timedelta(hours=1),
    "until_time": time(22),
    "capacity": 3,
    "rdates": [datetime(2026, 2, 3, 9)],
    "exdates": [date(2026, 1, 9), datetime(2026, 1, 12, 11)],
    "holidays": "ES" if find_spec("holidays") else None,
    "blackouts": [(date(2026, 8, 1), date(2026, 8, 15))],
    "window_days": 14,
    "opens_days_before": 3,
    "closes_before": timedelta(seconds=90),
    "reminder_before": timedelta(hours=24),
    "resource": "field",
    "data": {"music": ["jazz"], "née": None},
}

needs_holidays = pytest.mark.skipif(
    find_spec("holidays") is None, reason="the package holidays is not installed"
)


def refusal(value: Any) -> str:
    """Return the sentence with which a value is refused."""
    with pytest.raises(InvalidRequest) as refused:
        entries(value)
    return str(refused.value)


def test_a_full_template_comes_back(desk: Desk) -> None:
    """Every field of a template survives the way through a file; a second export is the same text."""
    with desk.app.app_context():
        desk.add(**FULL)
        desk.add(rrule=None, every=None, until_time=None, opens_before=timedelta(days=2))
    first = desk.run("export").stdout
    assert desk.bring(first).exit_code == 0
    with desk.app.app_context():
        once, _, again, _ = desk.templates()
        names = [name for name in FULL if name != "rrule"]
        assert {n: getattr(again, n) for n in names} == {n: getattr(once, n) for n in names}
        assert {n: getattr(again, n) for n in names} == {n: FULL[n] for n in names}
        assert again.recurrence.after(CREATED, 50) == once.recurrence.after(CREATED, 50)
        for template in desk.templates()[:2]:
            desk.session.delete(template)
        desk.session.commit()
    assert desk.run("export").stdout == first


def test_nothing_of_a_template_is_forgotten(desk: Desk) -> None:
    """Each column of a template is in the format, under its name or in minutes, or follows from others."""
    columns = {column.key for column in desk.app.extensions["rollingslots"].models.Template.__mapper__.attrs}
    written = {key.removesuffix("_minutes") for key in FILED}
    derived = {"id", "series_id", "continues_id", "revision", "created_at", "changed_at", "rrule"}
    derived |= {"settled_revision", "history_until"}
    assert columns - written == derived
    assert {*STATUSES} == {str(status) for status in Status}


def test_the_end_of_a_series_can_be_taken_back_elsewhere(desk: Desk) -> None:
    """A cancelled series is cancelled where it is imported, and ``restore_series`` brings it back there as here."""
    with desk.app.app_context():
        desk.add()
        desk.slots.generate()
        desk.slots.cancel("1@20260108T1000", reason="ill")
        desk.slots.edit("1@20260107T1000", "this_and_future", start=time(11))
        desk.slots.cancel_future(1, date(2026, 1, 8), reason="contract ended")
        desk.session.commit()
    file = {"templates": desk.export()}
    assert ["cancelled_from" in each for each in file["templates"]] == [False, True]
    assert "active_until" not in file["templates"][1]
    assert desk.bring(file).exit_code == 0
    with desk.app.app_context():
        start, end = datetime(2026, 1, 8, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)

        def shown(template: int) -> list[tuple[Any, ...]]:
            found = desk.slots.between(start, end, template=template)
            return [(s.original_start, s.starts_at, str(s.state), s.cancel_reason) for s in found]

        assert shown(1) == shown(3)
        assert {state for _, _, state, _ in shown(3)} == {"cancelled"}
        for template in (1, 3):
            desk.slots.restore_series(template)
        desk.session.commit()
        assert shown(1) == shown(3)
        assert [state for _, _, state, _ in shown(3)].count("cancelled") == 1
        assert len(shown(3)) == 52 * 8


def test_decisions_come_back(desk: Desk) -> None:
    """Cancelled stays cancelled, deleted stays hidden, moved and changed slots are so and count as decided."""
    with desk.app.app_context():
        desk.add()
        desk.slots.generate()
        cancelled, moved, changed, deleted, _ = desk.rows()[:5]
        desk.slots.cancel(cancelled.key, reason="ill")
        moved.starts_at += timedelta(minutes=20)
        moved.ends_at += timedelta(minutes=20)
        changed.capacity, changed.data = 7, {"dj": "Ada"}
        deleted.status = "deleted"
        desk.session.commit()
        before = [_seen(slot) for slot in desk.rows()[:4]]
    (template,) = desk.export()
    assert len(template["overrides"]) == 4
    assert desk.bring({"templates": [template]}).exit_code == 0
    with desk.app.app_context():
        assert [_seen(slot) for slot in desk.rows() if slot.series_id == 2] == before
        desk.slots.generate()
        assert [_seen(slot) for slot in desk.rows() if slot.series_id == 2][:4] == before
        assert len(desk.rows()) == 2 * 7 * 8


def test_marks_of_rows_that_a_file_brings(desk: Desk) -> None:
    """What was moved, and what the rule does not offer, is marked by the top-up after the import."""
    hall = {
        "name": "Hall",
        "dtstart": "2026-01-01T10:00",
        "duration_minutes": 60,
        "recurrence": {"type": "daily"},
    }
    overrides = [
        {"original_start": "2026-01-06T10:00", "starts_at": "2026-01-06T12:30", "status": "scheduled"},
        {"original_start": "2026-01-07T10:00", "capacity": 5, "status": "scheduled"},
    ]
    more = {"timezone": "Europe/Madrid", "exdates": ["2026-01-07"], "overrides": overrides}
    done = desk.bring({"templates": [hall | more, {**hall, "name": "Gym", "timezone": "UTC"}]})
    assert done.exit_code == 0, done.output
    with desk.app.app_context():
        cls = desk.slots.Template
        settled = select(cls.name).where(cls.settled_revision == cls.revision)
        assert desk.session.scalars(settled).all() == ["Gym"]
        assert [str(slot.state) for slot in desk.rows()] == ["open", "withdrawn"]
        desk.slots.generate()
        moved, left_out = (slot for slot in desk.rows() if slot.customised)
        assert (moved.displaced, moved.withdrawn) == (True, None)
        assert (left_out.displaced, left_out.withdrawn) == (None, True)
        assert desk.session.scalars(settled.order_by(cls.id)).all() == ["Hall", "Gym"]


def _seen(slot: Any) -> tuple[Any, ...]:
    return (
        slot.original_start,
        slot.status,
        slot.starts_at,
        slot.ends_at,
        slot.closes_at,
        slot.capacity,
        dict(slot.data),
        slot.cancel_reason,
        slot.customised,
    )


def test_a_decision_by_hand(desk: Desk) -> None:
    """An override may say as little as it wants: the rest follows from the rule; closing moves with the start."""
    hall = {
        "name": "Hall",
        "dtstart": "2026-01-01T10:00",
        "duration_minutes": 60,
        "timezone": "Europe/Madrid",
    }
    moved = {"original_start": "2026-01-01T10:00", "status": "scheduled", "starts_at": "2026-01-01T12:00"}
    assert desk.bring({**hall, "overrides": [moved]}).exit_code == 0
    with desk.app.app_context():
        (slot,) = desk.rows()
        assert slot.starts_at == slot.closes_at == datetime(2026, 1, 1, 11, tzinfo=UTC)
        assert slot.ends_at == datetime(2026, 1, 1, 12, tzinfo=UTC)
        assert slot.customised == ["ends_at", "starts_at"]


def test_segments_come_back_as_one_series(desk: Desk) -> None:
    """The segments of a series keep their bounds, shift and order, in a series of their own."""
    with desk.app.app_context():
        first = desk.add()
        first.active_until = datetime(2026, 1, 10)
        _segment(desk, first)
        desk.add(name="Alone")
    exported = desk.export()
    assert desk.bring({"templates": exported}).exit_code == 0
    with desk.app.app_context():
        _, _, _, head, alone, tail = desk.templates()
        assert (head.series_id, tail.series_id, alone.series_id) == (head.id, head.id, alone.id)
        assert (head.continues_id, tail.continues_id) == (None, head.id)
        assert (tail.active_from, tail.shift) == (datetime(2026, 1, 10), timedelta(hours=1))
        assert head.active_until == datetime(2026, 1, 10)
    assert [each["name"] for each in desk.export("--template", "2")] == ["Hall", "Hall"]


def test_segments_that_overlap_where_they_meet_say_so(desk: Desk) -> None:
    """As one rule whose slots overlap: else the same hour would be sold twice."""
    with desk.app.app_context():
        desk.add(capacity=1)
        desk.slots.edit("1@20260109T1300", "this_and_future", data={"court": 2})
        desk.session.commit()
    exported = desk.export()
    assert desk.bring({"templates": exported}).exit_code == 0
    exported[1]["shift_minutes"] = -30
    assert desk.bring({"templates": exported}).exit_code == 0
    with desk.app.app_context():
        assert [each.overlapping for each in desk.templates()] == [False] * 4 + [True] * 2


def _segment(desk: Desk, first: Any) -> None:
    desk.session.add(
        desk.slots.Template(
            **{name: getattr(first, name) for name in ("name", "rrule", "dtstart", "timezone", "duration")},
            series_id=first.id,
            continues_id=first.id,
            active_from=datetime(2026, 1, 10),
            shift=timedelta(hours=1),
        )
    )
    desk.session.commit()


@given(
    st.one_of(st.none(), rules("YEARLY MONTHLY WEEKLY DAILY HOURLY"), difficult_rules()),
    starts(2025, 2026),
    st.sampled_from(["", ";COUNT=9", ";UNTIL=20270101", ";UNTIL=20261025T003000Z"]),
)
@settings(max_examples=100)
def test_rule_to_json_and_back(rrule: str | None, dtstart: datetime, end: str) -> None:
    """Any rule comes back with the same occurrences."""
    template = spec(rrule=rrule and rrule + end, dtstart=dtstart)
    (found,) = read(json_text([StoredTemplate(template, CREATED)]))
    window = datetime(2025, 1, 1), datetime(2028, 1, 1)
    back = Recurrence(found.fields["rrule"], found.fields["dtstart"], found.fields["timezone"])
    assert list(back.originals(*window)) == list(
        Recurrence(template.rrule, dtstart, "Europe/Madrid").originals(*window)
    )


OWN: dict[str, Any] = {"name": "B", "dtstart": "2026-01-01T09:00", "duration_minutes": 30}
FOREIGN: dict[str, Any] = {"title": "A", "start": "2026-01-01T09:00", "end": "2026-01-01T10:00"}
RULE = {"type": "weekly"}
NINE = "2026-01-01T09:00"
GONE = {"original_start": NINE, "status": "cancelled"}
CLASS = {"weekday": 1, "start_time": "09:00"}
TWO_ENDS = "FREQ=DAILY;COUNT=1;UNTIL=20260101"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({**OWN, "capcity": 2}, "entry 1 ('B'): capcity = 2; expected a known field; the app's own go into data."),
        ({**OWN, "capcity": 2}, "Did you mean capacity?"),
        ({**OWN, "name": None}, "entry 1: name is missing"),
        ({**OWN, "dtstart": "2026-01-01"}, "dtstart = '2026-01-01'; expected a date and time"),
        ({**OWN, "dtstart": "2026-01-01T09:00:30"}, "expected whole minutes"),
        ({**OWN, "dtstart": "2026-01-01T09:00Z"}, "expected the wall clock in the template's zone"),
        ({**OWN, "dtstart": "2026-02-30T09:00"}, "dtstart = '2026-02-30T09:00'; expected a date and time"),
        ({**OWN, "duration_minutes": "30"}, "duration_minutes = '30'; expected a number of minutes"),
        ({**OWN, "duration_minutes": True}, "duration_minutes = True"),
        ({**OWN, "active": "yes"}, "active: 'yes' is not valid; expected true or false"),
        ({**OWN, "timezone": "Mars"}, "timezone: 'Mars' is not a known zone"),
        ({**OWN, "timezone": ["UTC"]}, "timezone: ['UTC'] is not valid"),
        ({**OWN, "recurrence": {"type": "weekly", "interval": 0}}, "interval: 0 is not valid"),
        ({**OWN, "recurrence": {"type": "weekly", "gap": "skip"}}, "gap = 'skip'; expected shift"),
        ({**OWN, "recurrence": {"type": "rrule", "rrule": TWO_ENDS}}, "COUNT: '1' stands together"),
        ({**OWN, "rdates": ["soon"]}, "rdates: 'soon' is not valid"),
        ({**OWN, "blackouts": [["2026-01-01"]]}, "expected a list of pairs of days"),
        ({**OWN, "series": [1]}, "series = [1]; expected a number or a text"),
        ({**OWN, "data": []}, "data = []; expected an object"),
        ({**OWN, "overrides": {}}, "overrides = {}; expected a list"),
        ({**OWN, "overrides": [{"status": "cancelled"}]}, "entry 1 ('B'), override 1: original_start is missing"),
        ({**OWN, "overrides": [{**GONE, "status": "gone"}]}, "status = 'gone'; expected one of"),
        ({**OWN, "overrides": [{**GONE, "state": "x"}]}, "Did you mean status?"),
        ({**OWN, "overrides": [GONE] * 2}, "override 2: original_start"),
        ({**OWN, "overrides": [{**GONE, "capacity": 0}]}, "capacity = 0"),
        ({**OWN, "overrides": [{**GONE, "starts_at": NINE, "ends_at": NINE}]}, "a time after starts_at"),
        ({**OWN, "recurrence": [CLASS, CLASS], "overrides": [GONE]}, "none beside a list"),
        ({"templates": [], "version": 1}, "the file: version = 1; expected templates alone"),
        ({**FOREIGN, "title": None}, "name is missing; expected a text under name, title, business_name or "),
        ({**FOREIGN, "end": None}, "entry 1 ('A'): end is missing; expected the first slot's end under end"),
        ({**FOREIGN, "start": None}, "start is missing; expected the first slot's time"),
        ({**FOREIGN, "start": None, "recurrence": RULE}, "dtstart is missing"),
        ({**FOREIGN, "start_dt": NINE}, "start_dt = '2026-01-01T09:00'; expected either start or start_dt"),
        ({**FOREIGN, "recurrence": RULE, "recurring_config": RULE}, "expected either recurrence or recurring_config"),
        ({**FOREIGN, "end": "2026-01-01"}, "the last day of a series is until_date"),
        ({**FOREIGN, "end": "2026-01-01T08:00"}, "end = '2026-01-01T08:00:00'; expected a time after the start"),
        ({**FOREIGN, "start": "2026-01-01"}, "start_time is missing"),
        ({**FOREIGN, "start": 5}, "start = 5; expected a date and time"),
        ({**FOREIGN, "recurrence": {"type": "wekly"}}, "Did you mean weekly?"),
        ({**FOREIGN, "recurrence": {"type": "weekly", "weekday": 7}}, "weekday: 7 is not valid"),
        ({**FOREIGN, "recurrence": {"type": "weekly", "enabled": False}}, "enabled: False is not valid"),
        ({**FOREIGN, "recurrence": "weekly"}, "recurrence: 'weekly' is not valid"),
        ({**FOREIGN, "end_recurrence_date": "2026-06-01"}, "expected until_date within the recurrence"),
        ({**FOREIGN, "data": []}, "data = []; expected an object"),
        ([FOREIGN, {**FOREIGN, "title": None}], "entry 2: name is missing"),
    ],
)  # fmt: skip
def test_refused_by_name(value: Any, said: str) -> None:
    """One line that names the entry, the field, the value and what is expected."""
    assert said in refusal(value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"capacity": 0}, "entry 2 ('B'): capacity = 0: expected a whole number"),
        ({"name": "x" * 201}, "name = 'xxx"),
        pytest.param({"holidays": "XX"}, "entry 2 ('B'): holidays = 'XX'", marks=needs_holidays),
        ({"dtstart": "2026-01-01T09:00", "every_minutes": 30}, "until_time is missing"),
        ({"group": 5}, "group = 5: expected a text"),
        (
            {"recurrence": {"type": "rrule", "rrule": "FREQ=DAILY;BYSECOND=30"}},
            "a rule without BYSECOND: slot keys have no seconds",
        ),
    ],
)
def test_what_a_template_refuses_names_the_entry(desk: Desk, fields: dict[str, Any], said: str) -> None:
    """The template's own checks speak of the entry too, and the good entry before it is not written."""
    result = desk.bring([OWN, {**OWN, **fields}])
    assert result.exit_code == 2
    assert said in result.stderr
    with desk.app.app_context():
        assert not desk.session.scalars(select(desk.slots.Template)).all()
