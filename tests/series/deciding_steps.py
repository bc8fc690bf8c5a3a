"""What may happen in a run of the deciding machine: each step is one thing that a person, the time or a fault does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from deciding_doors import Ask, Died, key_text
from deciding_frame import Step, check_filled, check_frame, demand
from deciding_machine import HOUR, LEASE, MINUTE, WINDOW, Machine, minutes
from deciding_model import DAY, Committed, Key, Segment
from sqlalchemy import event, select

WIDE = ("this_and_future", "all")


# -- one slot


def edit_this(m: Machine) -> None:
    """Change one slot: its time, length, places, data or name; of what is over its data."""
    slot = m.any_slot()
    if slot is None:
        return
    is_over = slot.end <= m.doors.clock.now
    kind = "data" if is_over else m.rng.choice(["start", "duration", "capacity", "data", "name"])
    local = slot.start.astimezone(ZoneInfo(slot.segment.zone)).replace(tzinfo=None)
    value: Any = {
        "start": local + m.rng.choice([-60, -30, 30, 60, 1440]) * MINUTE,
        "duration": m.rng.choice([30, 60, 90]) * MINUTE,
        "capacity": m.rng.randint(1, 3),
        "data": {m.rng.choice("ab"): m.rng.randrange(9)},
        "name": m.rng.choice(["Finals", "Party"]),
    }[kind]
    said = {"start": str(value), "duration": minutes(value) if kind == "duration" else 0}.get(kind, value)
    body = {"duration_minutes" if kind == "duration" else kind: said, "scope": "this", "move_booked": True}
    if kind == "start":
        body["start"] = value.isoformat(timespec="minutes")
    ask = Ask(
        lambda s: s.edit(slot.text, "this", move_booked=True, **{kind: value}),
        ("PATCH", f"/slots/{slot.text}", body),
    )

    def after(_: Committed, now: Committed) -> None:
        row = now.rows[slot.key]
        found = {"capacity": row.capacity, "name": row.own_name, "duration": row.end - row.start}.get(
            kind, value
        )
        if kind == "data":
            found = {name: row.data.get(name) for name in value}
        exact = kind != "duration"  # the clock may change meanwhile
        demand(found == value or not exact, slot.text, kind, "is", found, "and was decided to be", value)

    m.decide(ask, Step(f"{slot.text} {kind}={value}", touched={slot.key}), after)


def decide_one(m: Machine) -> None:
    """Cancel, delete or complete one slot, or take that back."""
    act = m.rng.choice(["cancel", "cancel", "delete", "complete", "undo"])
    if act == "undo":
        row = m.any_row("completed")
        key = row.key if row else None
    else:
        slot = m.any_slot("open", "full", "withdrawn", "closed", "blocked", "running", "ended", "cancelled")
        key = slot.key if slot else None
    if key is None:
        return
    text = key_text(key)
    ask = {
        "cancel": Ask(lambda s: s.cancel(text), ("POST", f"/slots/{text}/cancel", {})),
        "delete": Ask(lambda s: s.delete(text), ("DELETE", f"/slots/{text}", None)),
        "complete": Ask(lambda s: s.complete(text), ("POST", f"/slots/{text}/complete", None)),
        "undo": Ask(
            lambda s: s.complete(text, undo=True), ("POST", f"/slots/{text}/complete", {"undo": True})
        ),
    }[act]
    wanted = {"cancel": "cancelled", "delete": "deleted", "complete": "completed", "undo": "scheduled"}[act]
    now = m.expected[key].status if key in m.expected else m.state.rows[key].status
    row = m.state.rows.get(key)
    booked = row is not None and m.state.live(row) > 0
    must = {"cancel": now in ("scheduled", "cancelled"), "undo": True}.get(act)
    if act == "delete":
        must = not (booked or now == "completed")

    def after(_: Committed, then: Committed) -> None:
        demand(then.rows[key].status == wanted, text, "is", then.rows[key].status, "not", wanted)

    m.decide(ask, Step(f"{act} {text}", touched={key}), after, must)


def restore_one(m: Machine) -> None:
    """Bring back one slot that was cancelled or deleted."""
    row = m.any_row("cancelled", "deleted")
    if row is None:
        return
    text = key_text(row.key)
    ask = Ask(lambda s: s.restore(text), ("POST", f"/slots/{text}/restore", {}))
    kept = {b.id for b in m.state.of_slot.get(row.id, ())}

    def after(_: Committed, then: Committed) -> None:
        back = then.rows[row.key]
        demand(back.status == "scheduled", text, "is", back.status, "after it was restored")
        demand(kept <= {b.id for b in then.of_slot.get(back.id, ())}, text, "lost bookings")

    m.decide(ask, Step(text, touched={row.key}), after)


# -- many slots


def _change(m: Machine, key: Key, segment: Segment) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a random change of a series as the facade and as the API takes it."""
    kind = m.rng.choice(
        ["start", "start", "duration", "capacity", "capacity", "data", "rrule", "name", "setting"]
    )
    if kind == "start":
        shown = key[1] + segment.shift + m.rng.choice([-60, -30, 30, 60, 120, 1440, -1440]) * MINUTE
        return {"start": shown}, {"start": shown.isoformat(timespec="minutes")}
    if kind == "duration":
        length = m.rng.choice([30, 60, 60, 90]) * MINUTE
        return {"duration": length}, {"duration_minutes": minutes(length)}
    if kind == "capacity":
        places = m.rng.choice([1, 2, 3, 8, 12])
        return {"capacity": places}, {"capacity": places}
    if kind == "data":
        data = {m.rng.choice("ab"): m.rng.randrange(9)}
        return {"data": data}, {"data": data}
    if kind == "rrule":
        rules = [
            "FREQ=DAILY",
            "FREQ=DAILY;INTERVAL=2",
            "FREQ=WEEKLY;BYDAY=MO,WE,FR",
            "FREQ=WEEKLY;BYDAY=TH,FR,SA,SU",
        ]
        rule = m.rng.choice(rules)
        return {"rrule": rule}, {"rrule": rule}
    if kind == "name":
        name = m.rng.choice(["Court", "Bar", "Class", "New"])
        return {"name": name}, {"name": name}
    notice = m.rng.choice([15, 60]) * MINUTE
    return {"closes_before": notice}, {"closes_before_minutes": minutes(notice)}


FIELDS = {
    "duration": "duration",
    "capacity": "capacity",
    "name": "name",
    "rrule": "rrule",
    "closes_before": "closes_before",
}


def _check_change(
    change: dict[str, Any], series: int, first: datetime | None
) -> Callable[[Committed, Committed], None]:
    """Return a check that what was decided is committed, from an original start on."""

    def after(_: Committed, now: Committed) -> None:
        for segment in now.series(series):
            if first is not None and segment.active_until is not None and segment.active_until <= first:
                continue
            for name, value in change.items():
                found = getattr(segment, FIELDS[name]) if name in FIELDS else value
                if name == "data":
                    found = {each: segment.data.get(each) for each in value}
                demand(found == value, segment.id, name, "is", found, "and was decided to be", value)

    return after


def edit_wide(m: Machine) -> None:
    """Change a slot and all later ones, or all of the series."""
    slot = m.any_slot("open", "full", "withdrawn", "closed", "blocked")
    if slot is None:
        return
    scope, move_booked = m.rng.choice(WIDE), m.rng.random() < 0.4
    change, body = _change(m, slot.key, slot.segment)
    ask = Ask(
        lambda s: s.edit(slot.text, scope, move_booked=move_booked, **change),
        ("PATCH", f"/slots/{slot.text}", {**body, "scope": scope, "move_booked": move_booked}),
    )
    step = Step(
        f"{slot.text} {scope} {change} move_booked={move_booked}", {slot.key[0]}, move_booked=move_booked
    )
    first = slot.key[1] if scope != "all" else None
    m.decide(ask, step, _check_change(change, slot.key[0], first))


def end_wide(m: Machine) -> None:
    """Cancel or delete a slot and all later ones, or all of the series."""
    slot = m.any_slot("open", "full", "withdrawn", "closed", "blocked")
    if slot is None:
        return
    scope, text = m.rng.choice(WIDE), slot.text
    cancels = m.rng.random() < 0.5
    if cancels:
        http = ("POST", f"/slots/{text}/cancel", {"scope": scope})
        ask = Ask(lambda s: s.cancel(text, scope), http)
    else:
        ask = Ask(lambda s: s.delete(text, scope), ("DELETE", f"/slots/{text}?scope={scope}", None))
    first = slot.key[1] if scope != "all" else None

    def after(_: Committed, now: Committed) -> None:
        _check_ended(now, slot.key[0], first, "cancelled" if cancels else "deleted")

    m.decide(
        ask,
        Step(f"{'cancel' if cancels else 'delete'} {text} {scope}", {slot.key[0]}, ends=True),
        after,
        True,
    )


def _check_ended(now: Committed, series: int, first: datetime | None, status: str) -> None:
    """From an original start on nothing of a series is offered, and nothing that can be sold is left."""
    for row in now.rows.values():
        if row.key[0] != series or row.is_history(now.now) or (first is not None and row.key[1] < first):
            continue
        if row.brought_back:
            continue
        demand(not now.segments[row.template].offers(row.key[1]), row.key, "is still offered")
        demand(now.live(row) and status == "deleted", row.key, "is still scheduled and was to be", status)


def end_series(m: Machine) -> None:
    """Cancel a series from a day on, or delete it."""
    series, day = m.any_series(), m.any_day()
    number = m.rng.choice(m.state.series(series)).id
    if m.rng.random() < 0.6:
        ask = Ask(
            lambda s: s.cancel_future(number, day),
            ("POST", f"/templates/{number}/cancel-future", {"from_date": day.isoformat()}),
            ["cancel-future", str(number), day.isoformat()],
        )
        m.decide(ask, Step(f"cancel_future {number} {day}", {series}, ends=True), None, True)
        return
    ask = Ask(lambda s: s.delete_series(number), ("DELETE", f"/templates/{number}", None))
    step = Step(f"delete_series {number}", {series}, ends=True)
    m.decide(ask, step, lambda _, now: _check_ended(now, series, None, "deleted"), True)


def restore_series(m: Machine) -> None:
    """Take the end of a series back."""
    series = m.any_series()
    ended = [s.series for s in m.state.segments.values() if s.cancelled_from is not None]
    if ended and m.rng.random() < 0.8:
        series = m.rng.choice(ended)
    ask = Ask(
        lambda s: s.restore_series(series),
        ("POST", f"/templates/{series}/restore", {}),
        ["restore-series", str(series)],
    )

    def after(_: Committed, now: Committed) -> None:
        left = [s.id for s in now.series(series) if s.cancelled_from is not None]
        demand(not left, "the segments", left, "have ended still")

    m.decide(ask, Step(f"series {series}", {series}, ends=True), after, True)


# -- templates


def change_template(m: Machine) -> None:
    """Change settings of a whole series: days off, excluded dates, holidays, places, switched on or off."""
    segment = m.rng.choice(list(m.state.segments.values()))
    change, body = _setting(m, segment)
    number = segment.id
    ask = Ask(lambda s: s.change_template(number, **change), ("PATCH", f"/templates/{number}", body))

    def after(_: Committed, now: Committed) -> None:
        for each in now.series(segment.series):
            for name, value in change.items():
                found = getattr(each, name)
                same = set(found) == set(value) if isinstance(value, list) else found == value
                demand(same, each.id, name, "is", found, "and was decided to be", value)

    m.decide(ask, Step(f"{number} {change}", {segment.series}), after, True)


def _setting(m: Machine, segment: Segment) -> tuple[dict[str, Any], dict[str, Any]]:
    kind, day = (
        m.rng.choice(["blackouts", "blackouts", "exdates", "exdates", "holidays", "active", "capacity"]),
        m.any_day(),
    )
    if kind == "blackouts":
        off = [] if m.rng.random() < 0.4 else [*segment.blackouts, (day, day + m.rng.randrange(2) * DAY)]
        return {"blackouts": off}, {"blackouts": [[str(first), str(last)] for first, last in off]}
    if kind == "exdates":
        starts = list(segment.starts_on(day))
        out: list[Any] = [] if m.rng.random() < 0.4 else [day, *(m.rng.sample(starts, 1) if starts else ())]
        written = [e.isoformat(timespec="minutes") if isinstance(e, datetime) else str(e) for e in out]
        return {"exdates": out}, {"exdates": written}
    if kind == "holidays":
        country = m.rng.choice(["ES", None])
        return {"holidays": country}, {"holidays": country}
    if kind == "active":
        active = m.rng.random() < 0.7
        return {"active": active}, {"active": active}
    places = m.rng.choice([1, 2, 12])
    return {"capacity": places}, {"capacity": places}


def close(m: Machine) -> None:
    """Close some days of a template, a group or all, or reopen them."""
    _closing(m, reopened=False)


def reopen(m: Machine) -> None:
    """Open closed days again."""
    _closing(m, reopened=True)


def _closing(m: Machine, reopened: bool) -> None:
    first = m.any_day()
    last = first + m.rng.randrange(2 if not reopened else 8) * DAY
    which: dict[str, Any] = m.rng.choice(
        [{"group": "club"}, {"group": "bar"}, {}, {"template": m.any_series()}]
    )
    call = "reopen" if reopened else "close"
    words = ["close", str(first), str(last), *(["--reopen"] if reopened else [])]
    for name, value in which.items():
        words += [f"--{name}", str(value)]
    body = {"first": str(first), "last": str(last), "reopen": reopened, **which}
    ask = Ask(lambda s: getattr(s, call)(first, last, **which), ("POST", "/closings", body), words)
    meant = {
        s.id for s in m.state.segments.values()
        if ("group" not in which or s.group == which["group"])
        and ("template" not in which or s.series == which["template"])
    }  # fmt: skip

    def after(before: Committed, now: Committed) -> None:
        for number in meant:
            day = first
            while day <= last:
                off = any(a <= day <= b for a, b in now.segments[number].blackouts)
                demand(off is not reopened, "template", number, "has a day off on", day, off)
                day += DAY
            outside = [first - DAY, last + DAY]
            for day in outside:
                was, is_now = (
                    any(a <= day <= b for a, b in s.segments[number].blackouts) for s in (before, now)
                )
                demand(was == is_now, "template", number, day, "was not meant")

    step = Step(f"{call} {first} {last} {which}", {m.state.segments[n].series for n in meant})
    m.decide(ask, step, after, True)


def cancel_date(m: Machine) -> None:
    """Cancel one day of a group, or of all."""
    day, group = m.any_day(), m.rng.choice(["club", "bar", None])
    meant = {s.series for s in m.state.segments.values() if group is None or s.group == group}

    def after(before: Committed, now: Committed) -> None:
        for row in now.rows.values():
            segment = now.segments[row.template]
            on_day = row.key[0] in meant and segment.shown_day(row.key[1]) == day and not row.moved
            if on_day and not row.is_history(now.now) and not row.displaced:
                demand(False, row.key, "was not cancelled with its day")

    m.decide(
        Ask(lambda s: s.cancel_date(group, day)),
        Step(f"{group} {day}", meant, ends=True, running=True),
        after,
        True,
    )


def switch(m: Machine) -> None:
    """Switch a series or a group on or off."""
    on = m.rng.random() < 0.75
    which: dict[str, Any] = m.rng.choice([{"group": "club"}, {"template": m.any_series()}])
    meant = {
        s.id for s in m.state.segments.values()
        if s.group == which.get("group", s.group) and s.series == which.get("template", s.series)
    }  # fmt: skip

    def after(_: Committed, now: Committed) -> None:
        demand(all(now.segments[n].active is on for n in meant), "not all are switched", on)

    call = "activate" if on else "deactivate"
    step = Step(f"{call} {which}", {m.state.segments[n].series for n in meant})
    m.decide(Ask(lambda s: getattr(s, call)(**which)), step, after, True)


# -- past the facade


def by_orm(m: Machine) -> None:
    """Change a template as an admin panel does."""
    segment = m.rng.choice(list(m.state.segments.values()))
    day, kind = (
        m.any_day(),
        m.rng.choice(["capacity", "blackouts", "exdates", "duration", "rrule", "active", "data"]),
    )
    value: Any = {
        "capacity": m.rng.choice([1, 2, 3, 12]),
        "blackouts": [] if m.rng.random() < 0.4 else [(day, day)],
        "exdates": [] if m.rng.random() < 0.4 else [day],
        "duration": m.rng.choice([30, 60]) * MINUTE if segment.every else HOUR,
        "rrule": m.rng.choice(["FREQ=DAILY", "FREQ=WEEKLY;BYDAY=TH,FR,SA", "FREQ=DAILY;INTERVAL=2"]),
        "active": m.rng.random() < 0.7,
        "data": {m.rng.choice("ab"): m.rng.randrange(9)},
    }[kind]

    def act(slots: Any) -> None:
        setattr(slots.get_template(segment.id), kind, value)

    m.decide(Ask(orm=act), Step(f"{segment.id} {kind}={value}", {segment.series}), None)


def slot_by_orm(m: Machine) -> None:
    """Change a stored slot as an admin panel does."""
    row = m.any_row("scheduled")
    if row is None or row.start <= m.doors.clock.now:
        return
    kind = m.rng.choice(["capacity", "data"])
    value: Any = m.rng.randint(1, 4) if kind == "capacity" else {"a": m.rng.randrange(9)}

    def act(slots: Any) -> None:
        setattr(slots.get(key_text(row.key)), kind, value)

    def after(_: Committed, now: Committed) -> None:
        demand(getattr(now.rows[row.key], kind) == value, row.key, kind, "was not stored")

    m.decide(Ask(orm=act), Step(f"{key_text(row.key)} {kind}={value}", touched={row.key}), after)


def booking_by_orm(m: Machine) -> None:
    """Change the party of a booking as an admin panel does: refused, or the slot counts it."""
    booking = m.any_booking()
    if booking is None:
        return

    def act(slots: Any) -> None:
        slots.get_booking(booking.id).party = booking.party + 1

    m.decide(Ask(orm=act), Step(f"{booking.id} party", bookings={booking.id}))


def delete_by_orm(m: Machine) -> None:
    """Delete a template that has slots as an admin panel does: refused."""
    rows = sorted({row.template for row in m.state.rows.values()})
    if not rows:
        return
    number = m.rng.choice(rows)

    def act(slots: Any) -> None:
        m.doors.site.session.delete(slots.get_template(number))

    m.decide(Ask(orm=act), Step(f"template {number}"), must=False)


def delete_slot_by_orm(m: Machine) -> None:
    """Delete a stored slot as an admin panel does: refused, unless nobody has decided anything about it."""
    row = m.any_row("scheduled", "cancelled")
    if row is None:
        return

    def act(slots: Any) -> None:
        slot = slots.Slot
        m.doors.site.session.delete(m.doors.site.session.scalars(select(slot).where(slot.id == row.id)).one())

    decided = m.state.live(row) or row.customised or row.status != "scheduled"
    m.decide(Ask(orm=act), Step(key_text(row.key), touched={row.key}), must=False if decided else None)


# -- time and faults


def top_up(m: Machine) -> None:
    """Fill the window: afterwards it is as the templates say."""
    before = m.doors.committed()
    m.doors.slots.generate()
    m.doors.site.session.remove()
    m.state = m.doors.committed()
    step = Step("top-up", heals=True)
    check_frame(before, m.state, step)
    check_filled(m.state, WINDOW)
    unsettled = [s.id for s in m.state.segments.values() if s.active and not s.is_settled]
    demand(not unsettled, "the templates", unsettled, "are not settled by a top-up")


def dies(m: Machine) -> None:
    """A top-up dies at some statement that writes: nothing half is left that anybody sees."""
    before, left = m.doors.committed(), m.rng.randrange(1, 14)

    def count(_c: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        nonlocal left
        if statement.split()[0] in ("INSERT", "UPDATE", "DELETE"):
            left -= 1
            if left == 0:
                raise Died

    engine = m.doors.site.db.engine
    event.listen(engine, "before_cursor_execute", count)
    with suppress(Died):
        m.doors.slots.generate()
        m.more("- it lived")
    event.remove(engine, "before_cursor_execute", count)
    m.doors.site.session.remove()
    m.state = m.doors.committed()
    check_frame(before, m.state, Step("died", heals=True))
    m.doors.clock.now += LEASE


def wait(m: Machine) -> None:
    """Time passes."""
    m.doors.clock.turn(hours=m.rng.choice([1, 3, 6, 12, 24]), minutes=m.rng.choice([0, 0, 0, 7]))


ACTS: dict[Callable[[Machine], None], int] = {
    Machine.book: 22, Machine.hold: 5, Machine.book_nothing: 4, Machine.confirm: 4, Machine.release: 7, Machine.move: 4,
    edit_this: 5, decide_one: 5, restore_one: 4, edit_wide: 8, end_wide: 2, end_series: 2, restore_series: 4,
    change_template: 5, close: 4, reopen: 4, cancel_date: 1, switch: 4, by_orm: 6, slot_by_orm: 3, booking_by_orm: 1,
    delete_by_orm: 1, delete_slot_by_orm: 1, top_up: 12, dies: 3, wait: 16,
}  # fmt: skip
#: The same with more time between the steps: for whole months.
SPARSE = {**ACTS, wait: 60}
