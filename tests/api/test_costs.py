"""What one request may cost, counted in starts that are looked at: the same request always ends the same way."""

from __future__ import annotations

import os
import sys
import tempfile
from datetime import date, datetime, timedelta
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING, Any

import pytest
from api_site import READ, ApiSite
from hypothesis import given, settings, target
from hypothesis import strategies as st

from benchmarks import costs
from flask_rollingslots import planning
from flask_rollingslots.browsing import viewing
from flask_rollingslots.errors import RollingSlotsError
from flask_rollingslots.recurrence.expand import DaySource
from flask_rollingslots.values import TemplateSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

DENSE = costs.DENSE
FAR = "start=2031-01-05&end=2031-04-05"


class Counted:
    """What a request looked at."""

    def __init__(self) -> None:
        self.starts = self.months = 0


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Count what requests look at."""
    return counting(monkeypatch)


def counting(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Count the starts that planning looks at, and the months that rules look at."""
    found = Counted()
    promised, within = planning.promised_starts, DaySource.within

    def looking(spec: TemplateSpec, *more: Any) -> Iterator[Any]:
        for each in promised(spec, *more):
            found.starts += 1
            yield each

    def looking_up(self: DaySource, first: int, last: int) -> list[int]:
        found.months += 1
        return within(self, first, last)

    monkeypatch.setattr(planning, "promised_starts", looking)
    monkeypatch.setattr(DaySource, "within", looking_up)
    return found


def test_a_page_of_slots_costs_as_much_as_a_page_has(site: ApiSite, counted: Counted) -> None:
    """Of 20 templates with a slot each three minutes, a page of 50 looks at little more than 50 starts, twice."""
    site.fill(*(f"Hall {number}" for number in range(20)), **DENSE)
    page = site.get(f"/slots?{FAR}&limit=50")
    assert len(page["items"]) == 50
    assert page["next"]
    assert counted.starts < 2 * (50 + 20) + 40
    following = site.get(page["next"].removeprefix("/api"))
    starts = [each["starts_at"] for each in (*page["items"], *following["items"])]
    assert starts == sorted(starts)
    assert len({each["key"] for each in (*page["items"], *following["items"])}) == 100


def test_all_pages_together_have_every_slot_once(site: ApiSite) -> None:
    """Past, stored, moved, cancelled and virtual slots are all on the pages, each once, in the order of the list."""
    site.fill("Hall", "Court", timezone="Europe/Madrid")
    with site.app.app_context():
        site.slots.generate()
        site.slots.edit("1@20260107T1000", "this", start=datetime(2026, 1, 9, 20))
        site.slots.cancel("2@20260108T1200")
        site.slots.delete("2@20260108T1300")
        site.session.commit()
    site.clock.turn(days=3)
    whole = [each["key"] for each in site.get("/slots?start=2026-01-05&end=2026-01-16")["items"]]
    path, found = "/slots?start=2026-01-05&end=2026-01-16&limit=7", []
    while path:
        page = site.get(path)
        found += [each["key"] for each in page["items"]]
        path = (page["next"] or "").removeprefix("/api")
    assert found == whole
    assert len(whole) == len(set(whole)) > 100


def test_what_nearly_never_offers_anything_is_given_up_with_a_sentence(
    site: ApiSite, counted: Counted
) -> None:
    """Looking for the next slot behind days off of years ends after 20,000 starts, and says what to do."""
    days = [date(2026, 1, 1) + timedelta(days=2 * number) for number in range(1000)]
    odd = [day + timedelta(days=1) for day in days]
    site.fill("Hall", **DENSE, blackouts=[(day, day) for day in days], exdates=odd)
    for path in ("/templates/1/preview", "/templates?from=2026-01-05&to=2031-01-05"):
        answer = site.call("GET", path)
        assert answer.status_code == 422
        assert "more than 20,000 starts of slots" in answer.json["detail"]
        assert "expected a shorter span" in answer.json["detail"]
    assert counted.starts <= 2 * 20_001
    assert site.call("GET", "/feed.ics?template=1").status_code == 422
    site.fill("Other")
    assert b"SUMMARY:Other" in site.call("GET", "/feed.ics").data


def test_a_closure_of_years_is_jumped(site: ApiSite, counted: Counted) -> None:
    """What is closed for ten years in one piece shows its next slots after a few days of looking."""
    site.fill("Hall", **DENSE, blackouts=[(date(2026, 1, 1), date(2035, 12, 31))])
    (first, *_) = site.get("/templates/1/preview?count=3")["items"]
    assert first["original_start"] == "2036-01-01T00:00"
    assert counted.starts < 20 * 480


def test_the_public_learns_of_health_what_the_last_check_found(site: ApiSite, counted: Counted) -> None:
    """Whoever may ask without a token costs nothing: no rule is expanded, whatever the window."""
    site.fill("Hall", **DENSE)
    assert site.get("/health", token=None) == {"status": "due"}
    with site.app.app_context():
        site.slots.generate()
    counted.starts = counted.months = 0
    assert site.get("/health", token=None) == {"status": "ok"}
    assert counted.starts == counted.months == 0
    site.clock.turn(days=1)
    assert site.get("/health", token=None) == {"status": "due"}
    site.fill("Other")
    assert site.get("/health", token=None) == {"status": "due"}


def test_health_with_a_token_compares_no_more_than_an_answer_may_cost(
    site: ApiSite, counted: Counted
) -> None:
    """A crowded window is not gone through for an answer: it has the status of the last check, and says so."""
    site.fill("Court")
    told = site.get("/health", token=READ)
    assert (told["checked"], told["status"], told["promised"], told["due"]) == (True, "due", 56, 56)
    site.fill("Hall", **DENSE)
    counted.starts = 0
    told = site.get("/health", token=READ)
    assert counted.starts <= 4_001
    assert (told["checked"], told["status"]) == (False, "due")
    assert {told[name] for name in ("promised", "stored", "missing", "due", "horizon")} == {None}
    with site.app.app_context():
        assert site.slots.health().promised > 40_000
        assert site.slots.health(most=4_000).checked is False
        site.slots.generate()
    assert (site.get("/health")["checked"], site.get("/health")["status"]) == (False, "ok")


def test_an_answer_holds_a_megabyte_of_data(site: ApiSite) -> None:
    """A page ends where its data would be more, and the next one goes on; what has no pages says how many fit."""
    site.fill("Hall", "Court", data={"text": "x" * 60_000})
    path, found = "/slots?start=2031-01-05&end=2031-01-10", list[str]()
    while path:
        page = site.get(path)
        assert 0 < len(page["items"]) <= 16
        found += [each["key"] for each in page["items"]]
        path = (page["next"] or "").removeprefix("/api")
    assert len(found) == len(set(found)) == 2 * 5 * 8
    answer = site.call("GET", "/templates/1/preview?count=40")
    assert answer.status_code == 422
    assert "at most 16" in answer.json["detail"]
    assert len(site.get("/templates/1/preview?count=16")["items"]) == 16
    site.fill(*(f"T{number}" for number in range(20)), data={"text": "x" * 60_000})
    page = site.get("/templates")
    assert len(page["items"]) == 16
    assert len(site.get(page["next"].removeprefix("/api"))["items"]) == 6


def test_a_page_reads_the_moved_slots_near_it_alone(site: ApiSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many slots of a series were moved somewhere, a day reads those that may be in its way."""
    site.fill("Hall", window_days=60)
    with site.app.app_context():
        for day in range(40):
            start = datetime(2026, 1, 6, 10) + timedelta(days=day)
            site.slots.edit(f"1@{start:%Y%m%dT%H%M}", "this", start=start + timedelta(minutes=30))
        site.session.commit()
    read, load = list[Any](), viewing.VALUES.stored
    monkeypatch.setattr(viewing.VALUES, "stored", lambda *given: read.extend(load(*given)) or read)
    page = site.get("/slots?start=2026-01-06&end=2026-01-07")
    assert len(read) <= 3
    states = {each["original_start"][11:]: each["state"] for each in page["items"]}
    assert (states["10:00"], states["11:00"], states["12:00"]) == ("open", "blocked", "open")


def test_more_than_one_request_may_look_at_is_refused_by_the_facade_too(
    sqlite_url: str, tmp_path: Any
) -> None:
    """An app's own page meets the same bound, which names its setting, and is set higher there."""
    site = ApiSite(sqlite_url, tmp_path, ROLLINGSLOTS_EXPANSION_STEPS_MAX=10_000)
    site.fill("Hall", **DENSE)
    with site.app.app_context():
        start = site.clock.now
        assert len(site.slots.between(start, start + timedelta(days=20))) == 9_600
        with pytest.raises(RollingSlotsError, match=r"more than 10,000 .*EXPANSION_STEPS_MAX"):
            site.slots.between(start, start + timedelta(days=30))


def ask_everywhere(site: ApiSite, counted: Counted, most: int) -> int:
    """Ask every public address; return the most starts that one looked at, months of rules included."""
    worst = 0
    for path in costs.ADDRESSES:
        counted.starts = counted.months = 0
        answer = site.call("GET", path, token=None if path == "/health" else READ)
        assert answer.status_code in (200, 404, 422), (path, answer.text)
        assert "expected" in answer.text or answer.status_code != 422
        cost = counted.starts + counted.months
        assert cost <= most, (path, cost)
        worst = max(worst, cost)
    return worst


@st.composite
def offers(draw: st.DrawFn) -> dict[str, Any]:
    """A template that is as costly as limits let it be, in one way or another."""
    fields: dict[str, Any] = {**DENSE, "name": "Hall", "overlapping": draw(st.booleans())}
    fields["ends_by"] = draw(st.sampled_from(["wall_clock", "elapsed"]))
    if draw(st.booleans()):
        freq = draw(st.sampled_from(["YEARLY", "MONTHLY", "WEEKLY", "DAILY"]))
        minutes = ",".join(map(str, range(0, 60, draw(st.sampled_from([1, 3, 20])))))
        parts = [
            f"FREQ={freq}",
            f"INTERVAL={draw(st.sampled_from([1, 2, 7, 41]))}",
            "BYDAY=MO,TU,WE,TH,FR,SA,SU",
        ]
        parts += [f"BYHOUR={','.join(map(str, range(24)))}", f"BYMINUTE={minutes}"]
        parts += draw(st.sampled_from([[], ["BYSETPOS=1,-1,366,-366"], ["BYMONTH=1,2,3,4,5,6,7,8,9,10,11"]]))
        fields |= {"every": None, "until_time": None}
    else:
        freq = draw(st.sampled_from(["DAILY", "WEEKLY", "MONTHLY", "YEARLY"]))
        parts = [f"FREQ={freq}", f"INTERVAL={draw(st.sampled_from([1, 2, 53]))}"]
        parts += draw(st.sampled_from([[], ["BYMONTH=2"], ["BYMONTHDAY=31"] if freq != "WEEKLY" else []]))
    parts += draw(st.sampled_from([[], ["COUNT=1000000000"], ["UNTIL=99901231"]]))
    fields["rrule"] = ";".join(parts)
    first = date(2031, 1, 1)
    step = draw(st.integers(1, 4))
    count = draw(st.sampled_from([0, 1000]))
    fields["blackouts"] = [(first + timedelta(days=step * n),) * 2 for n in range(count)]
    count = draw(st.sampled_from([0, 1900]))
    fields["exdates"] = [first + timedelta(days=1 + n) for n in range(count)]
    return fields


def seconds_of(site: ApiSite) -> tuple[float, str]:
    """Return the processor time of the address that takes longest, the best of three turns of each, and which it is."""
    taken = []
    for path in costs.ADDRESSES:
        turns = []
        for _ in range(3):
            start = process_time()
            site.call("GET", path, token=None if path == "/health" else READ)
            turns.append(process_time() - start)
        taken.append((min(turns), path))
    return max(taken)


@pytest.mark.slow
@given(fields=offers())
@settings(max_examples=int(os.environ.get("WORST_RULES", "25")), deadline=None)
def test_the_worst_rule_that_a_search_finds_stays_within_the_bound(fields: dict[str, Any]) -> None:
    """A search that aims at processor time finds no permitted template with which an address looks at too much.

    Nor one that takes an address longer than a quarter of a second; what it finds is printed.
    """
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        site = ApiSite(f"sqlite:///{folder}/slots.db", Path(folder))
        with site.app.app_context():
            try:
                site.slots.create_template(**fields)
            except RollingSlotsError:
                return
            site.session.commit()
        ask_everywhere(site, counting(patch), 60_000)
        patch.undo()
        seconds, path = seconds_of(site)
        target(seconds)
        rule = {name: value for name, value in fields.items() if name not in ("blackouts", "exdates")}
        said = f"{seconds * 1000:.0f} ms, {path}: {rule}, {len(fields['blackouts'])} days off"
        sys.stdout.write(f"{said}\n")
        assert seconds <= 0.25, said


def test_known_worst_rules_stay_within_the_bound(site: ApiSite, counted: Counted) -> None:
    """What a search found to be costly once is asked for at every public address."""
    days = [(date(2031, 1, 1) + timedelta(days=2 * n),) * 2 for n in range(1000)]
    minutes = ",".join(map(str, range(60)))
    site.fill("Hall", **DENSE, blackouts=days)
    site.fill("Court", **DENSE | {"rrule": "FREQ=MONTHLY;BYMONTHDAY=31;COUNT=60000000"})
    every = {"every": None, "until_time": None, "duration": timedelta(minutes=1)}
    rule = f"FREQ=YEARLY;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYHOUR={','.join(map(str, range(24)))};BYMINUTE={minutes}"
    site.fill("Room", **DENSE | every | {"rrule": f"{rule};BYSETPOS=1,-1,366,-366"})
    ask_everywhere(site, counted, 60_000)


def test_excluded_days_of_a_calendar_count_with_all_that_they_have(site: ApiSite) -> None:
    """Of a rule that gives each minute, hundreds of excluded days are far more dates than a calendar may say."""
    minutes = f"BYHOUR={','.join(map(str, range(24)))};BYMINUTE={','.join(map(str, range(60)))}"
    days = [date(2031, 1, 1) + timedelta(days=number) for number in range(300)]
    fields = {"every": None, "until_time": None, "duration": timedelta(minutes=1), "exdates": days}
    site.fill("Room", **DENSE | fields | {"rrule": f"FREQ=DAILY;{minutes}", "window_days": 7})
    assert site.call("GET", "/feed.ics").status_code == 422
    site.fill("Hall", exdates=days)
    assert b"SUMMARY:Hall" in site.call("GET", "/feed.ics").data


def test_who_may_see_one_template_of_many_reads_nothing_of_the_others(
    site: ApiSite, counted: Counted
) -> None:
    """What is hidden from a sender is neither worked out nor paid for: not slots, and templates a page at a time."""
    site.fill(*(f"Hall {number}" for number in range(8)), **DENSE)
    site.slots.authorize(lambda action, template: template is not None and template.id == 8)
    page = site.get(f"/slots?{FAR}&limit=5", token=None)
    assert [each["template_id"] for each in page["items"]] == [8] * 5
    assert counted.starts < 2 * 6 + 10
    page = site.get("/templates?limit=1", token=None)
    assert ([each["id"] for each in page["items"]], page["next"]) == ([8], None)
