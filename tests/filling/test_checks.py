"""What was complete is known to be complete by a checksum, and by nothing that could be outdated."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, time, timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from helpers import A_WEEK, HALL, MONDAY, Clock, Site
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, select, text
from test_screening import DAMAGES, add_row, change

from flask_rollingslots.errors import Interrupted
from flask_rollingslots.filling import checks, screening
from flask_rollingslots.topup import TopUpRequest, pending, run, slices, tallies
from flask_rollingslots.topup.runner import never

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: Damages that show in the number or in the starts of the stored rows.
SEEN = (
    "one missing",
    "one too many",
    "one too many at night",
    "one at a wrong time",
    "one moved out of the window",
)


class Looked:
    """The templates that were compared slot by slot, and for how long a part of their windows."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.spans: set[timedelta] = set()

    def forget(self) -> None:
        """Begin anew."""
        self.ids.clear()
        self.spans.clear()


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Looked:
    """What top-ups compare slot by slot."""
    found, original = Looked(), run.screen

    def note(work: Any, units: Any, **options: Any) -> Any:
        found.ids.extend(unit.spec.id for unit in units)
        found.spans.update(unit.window.end - unit.window.start for unit in units)
        return original(work, units, **options)

    monkeypatch.setattr(run, "screen", note)
    return found


def make(url: str, folder: Path, count: int = 3, **options: Any) -> Site:
    """Return a site with templates, each with times of its own, that are complete and known to be."""
    site = Site(url, folder, **options)
    with site.app.app_context():
        for number in range(count):
            own = {"dtstart": datetime(2026, 1, 1, 10, number), "until_time": time(18, number)}
            site.add(name=f"{number}", group=f"group {number % 2}", **own)
        for _ in range(2):
            site.slots.generate()
    return site


@pytest.fixture
def whole(sqlite_url: str, tmp_path: Path, looked: Looked) -> Iterator[Site]:
    """A site with three templates that are complete and known to be."""
    site = make(sqlite_url, tmp_path)
    looked.forget()
    with site.app.app_context():
        yield site


def test_nothing_is_read_where_nothing_differs(database_url: str, tmp_path: Path, looked: Looked) -> None:
    """The second look notes what is complete; the third counts in an index, expands no rule and reads no row."""
    site = make(database_url, tmp_path)
    with site.app.app_context():
        assert looked.ids == [1, 2, 3, 1, 2, 3]
        looked.forget()
        seen: list[str] = []
        event.listen(site.db.engine, "before_cursor_execute", lambda *args: seen.append(args[2]))
        report = site.slots.generate()
        assert looked.ids == []
        assert (report.existing, report.expected, report.created) == (3 * 56, 3 * 56, 0)
        assert {name: tally.existing for name, tally in report.groups.items()} == {
            "group 0": 112,
            "group 1": 56,
        }
        looks = [each for each in seen if "rolling_slot" in each and "GROUP BY" in each]
        assert [("original_start" in each, "ends_at" in each) for each in looks] == [(False, False)] * 2


def test_each_damage_that_shows_is_noticed(database_url: str, tmp_path: Path, looked: Looked) -> None:
    """One row missing, one too many, or one at another time: that template alone is compared, and made whole."""
    site = make(database_url, tmp_path, len(SEEN))
    with site.app.app_context():
        before = [(row.key, row.starts_at) for row in site.rows()]
        for hurt, name in enumerate(SEEN, start=1):
            damage, expected = DAMAGES[name]
            site.session.rollback()
            row = next(row for row in site.rows()[20:] if row.template_id == hurt and row.starts_at > MONDAY)
            damage(site, row)
            site.session.commit()
            looked.forget()
            report = site.slots.generate()
            assert (report.created, report.updated, report.removed) == expected, name
            assert set(looked.ids) == {hurt}, name
            site.session.rollback()
            assert [(row.key, row.starts_at) for row in site.rows()] == before, name


def test_two_rows_that_move_alike_do_not_cancel_out(
    database_url: str, tmp_path: Path, looked: Looked
) -> None:
    """Two rows of one template are moved by the same time, in one direction, then in opposite ones."""
    site = make(database_url, tmp_path, 2)
    with site.app.app_context():
        for template_id, second in ((1, 1), (2, -1)):
            rows = [row for row in site.rows() if row.template_id == template_id]
            for row, sign in ((rows[20], 1), (rows[30], second)):
                change(site, row, starts_at=row.starts_at + sign * timedelta(minutes=20))
        site.session.commit()
        looked.forget()
        assert site.slots.generate().updated == 4
        assert set(looked.ids) == {1, 2}


def test_once_a_day_everything_is_compared(whole: Site, looked: Looked) -> None:
    """The first look of a day expands the new day alone; the second one compares all, the third nothing."""
    row = whole.rows()[30]
    change(whole, row, ends_at=row.ends_at + timedelta(minutes=5))
    whole.session.commit()
    whole.clock.turn(days=1)
    first = whole.slots.generate()
    assert (first.created, first.existing, first.updated) == (3 * 8, 3 * 48, 0)
    assert looked.spans == {timedelta(days=1)}
    looked.forget()
    second = whole.slots.generate()
    assert (second.created, second.existing, second.updated) == (0, 3 * 56, 1)
    assert looked.spans == {timedelta(days=1), timedelta(days=7)}
    looked.forget()
    whole.slots.generate()  # of the one that was repaired, nothing was known yet
    assert set(looked.ids) == {row.template_id}
    looked.forget()
    assert whole.slots.generate().existing == 3 * 56
    assert looked.ids == []


def test_a_full_look_by_hand(whole: Site, looked: Looked) -> None:
    """Who repaired something in SQL asks for a comparison of each slot."""
    row = whole.rows()[30]
    change(whole, row, ends_at=row.ends_at + timedelta(minutes=5))
    whole.session.commit()
    assert whole.slots.generate().updated == 0
    assert whole.slots.generate(full=True).updated == 1


def test_what_lacks_on_the_first_look_of_a_day(whole: Site, looked: Looked) -> None:
    """On a new day, a row that is gone and one too many in the days before are noticed, too."""
    rows = whole.rows()
    whole.session.delete(rows[20])
    add_row(whole, rows[100], timedelta(minutes=7))
    whole.session.commit()
    whole.clock.turn(days=1)
    report = whole.slots.generate()
    assert (report.created, report.removed, report.existing) == (3 * 8 + 1, 1, 3 * 48 - 1)


def test_after_two_days_nothing_is_taken_for_known(whole: Site, looked: Looked) -> None:
    """A check of the day before yesterday says nothing: all is compared."""
    whole.clock.turn(days=2)
    assert whole.slots.generate().created == 3 * 16
    assert looked.spans == {timedelta(days=7)}


def test_an_old_check_of_a_window_that_was_longer(whole: Site, looked: Looked) -> None:
    """A check whose window ended yesterday, but began days ago, says nothing: it was never compared in full since."""
    whole.clock.turn(days=5)
    widen(whole, 3)
    assert whole.slots.generate().created == 3 * 8
    assert looked.spans == {timedelta(days=3)}


def test_a_new_day_with_a_slot_that_was_moved_away(whole: Site) -> None:
    """A slot of the new day that stands elsewhere is no new one, and the template is counted once."""
    whole.slots.edit("1@20260112T1000", "this", start=datetime(2026, 1, 14, 9, 30))
    whole.session.commit()
    whole.clock.turn(days=1)
    report = whole.slots.generate()
    assert (report.created, report.templates[1].existing, report.templates[2].existing) == (23, 49, 48)


# -- what makes a check void


def edited(site: Site) -> None:
    """A decision on each template."""
    for number in (1, 2, 3):
        site.slots.edit(f"{number}@20260107T100{number - 1}", "all", capacity=2)


def changed_in_memory(site: Site) -> None:
    """A change through the ORM."""
    for template in site.session.query(site.slots.Template):
        template.data = {"price": 3}


VOID: dict[str, Callable[[Site, pytest.MonkeyPatch], object]] = {
    "a decision": lambda site, _: edited(site),
    "a change through the ORM": lambda site, _: changed_in_memory(site),
    "a longer window": lambda site, _: widen(site, 8),
    "a shorter window": lambda site, _: widen(site, 6),
    "a zone table": lambda site, patch: patch.setattr(checks, "_offsets", lambda *_: iter([("now", 1.0)])),
    "a library": lambda site, patch: patch.setattr(checks, "_versions", lambda: ("9.9",)),
    "the meaning of rules": lambda site, patch: patch.setattr(checks, "_MEANING", -1),
    "a kept history": lambda site, _: site.session.execute(
        text("UPDATE rolling_template SET keep_history = 1")
    ),
    "a bulk UPDATE of templates": lambda site, _: site.session.query(site.slots.Template).update(
        {"duration": timedelta(minutes=30)}
    ),
    "excluded dates of a bulk UPDATE": lambda site, _: site.session.query(site.slots.Template).update(
        {"exdates": [date(2026, 1, 7)]}
    ),
    "a lost check": lambda site, _: site.session.execute(text("DELETE FROM rolling_check")),
}


def widen(site: Site, days: int) -> None:
    """Give an app another window."""
    state = site.app.extensions["rollingslots"]
    narrow = replace(state.settings, window_days=days)
    state.topup.runner.settings = narrow


@pytest.mark.parametrize("name", VOID)
def test_what_makes_checks_void(
    whole: Site, looked: Looked, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """After each of these all templates are compared with their rules, and later looks know again."""
    VOID[name](whole, monkeypatch)
    whole.session.commit()
    checks._basis.cache_clear()
    whole.slots.generate()
    assert set(looked.ids) == {1, 2, 3}
    if name != "a kept history":
        whole.slots.generate()
        looked.forget()
        whole.slots.generate()
        assert looked.ids == []
    monkeypatch.undo()
    checks._basis.cache_clear()


def test_a_bulk_update_makes_a_check_void(database_url: str, tmp_path: Path, looked: Looked) -> None:
    """What a bulk UPDATE changed of a rule, which raises no revision, is followed by the next look."""
    site = make(database_url, tmp_path)
    with site.app.app_context():
        looked.forget()
        mine = site.session.query(site.slots.Template).filter_by(id=2)
        mine.update({"exdates": [date(2026, 1, 7)]})
        site.session.commit()
        assert site.slots.generate().removed == 8
        assert set(looked.ids) == {2}


def test_holidays_make_checks_void(
    sqlite_url: str, tmp_path: Path, looked: Looked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version of the holidays package with another holiday in the window: those templates are compared."""
    site = Site(sqlite_url, tmp_path)
    with site.app.app_context():
        site.add(holidays="ES")
        site.add()
        site.slots.generate()
        site.slots.generate()
        assert site.slots.generate().skipped == {"holiday": 8}  # told without looking
        looked.forget()
        monkeypatch.setattr(checks, "public_holiday", lambda code, day: day == date(2026, 1, 7))
        checks._basis.cache_clear()
        site.slots.generate()
    checks._basis.cache_clear()
    assert set(looked.ids) == {1}


def test_a_template_that_is_made_again(whole: Site, looked: Looked) -> None:
    """A template with the id of one that was deleted is filled, whatever was known of that one; others' checks go."""
    whole.session.execute(text("DELETE FROM rolling_slot"))
    whole.session.execute(text("DELETE FROM rolling_template WHERE id < 3"))
    whole.session.commit()
    whole.session.add(whole.slots.Template(**{**HALL, "id": 2, "every": timedelta(hours=2)}))
    whole.session.commit()
    assert whole.slots.generate().created == 56 + 28
    whole.slots.generate()
    assert set(whole.session.scalars(select(whole.slots.models.Check.template_id))) == {2, 3}


def test_a_restored_database(whole: Site, looked: Looked) -> None:
    """Slots of an older state beside checks of a newer one are compared."""
    whole.session.execute(text("DELETE FROM rolling_slot WHERE starts_at > '2026-01-08'"))
    whole.session.commit()
    lacking = 3 * 56 - len(whole.rows())
    assert whole.slots.generate().created == lacking > 0


def test_a_clock_that_is_set_back(sqlite_url: str, tmp_path: Path) -> None:
    """What had started when a window was complete is made if, by the clock, it has not started yet."""
    site = Site(sqlite_url, tmp_path, Clock(MONDAY.replace(hour=12, minute=30)))
    with site.app.app_context():
        site.add()
        for _ in range(3):
            report = site.slots.generate()
        assert (report.existing, report.skipped) == (A_WEEK - 3, {"in_the_past": 3})
        site.clock.turn(hours=-2)
        assert site.slots.generate().created == 2


def test_a_day_after_one_that_had_begun(sqlite_url: str, tmp_path: Path, looked: Looked) -> None:
    """What had started when a template was made does not keep the next day from being planned alone."""
    site = Site(sqlite_url, tmp_path, Clock(MONDAY.replace(hour=20)))
    with site.app.app_context():
        site.add(dtstart=datetime(2026, 1, 1, 10, 7), until_time=time(18, 7))
        site.slots.generate()
        site.slots.generate()
        site.clock.turn(days=1)
        looked.forget()
        report = site.slots.generate()
        assert (report.created, report.existing, report.skipped) == (8, 48, {})
    assert looked.spans == {timedelta(days=1)}


def test_a_moved_slot_is_read_each_time(whole: Site, looked: Looked) -> None:
    """A template with a slot that a person moved never has a check; the others have theirs."""
    whole.slots.edit("2@20260107T1001", "this", start=datetime(2026, 1, 7, 19, 30))
    whole.session.commit()
    for _ in range(3):
        looked.forget()
        assert whole.slots.generate().existing == 3 * 56
        assert set(looked.ids) == {2}


def test_counts_are_those_of_a_full_look(database_url: str, tmp_path: Path) -> None:
    """Cancelled, deleted and excluded slots are counted as ever where nothing is read, also on a new day."""
    site = make(database_url, tmp_path)
    with site.app.app_context():
        site.session.get(site.slots.Template, 2).exdates = [date(2026, 1, 8)]
        site.slots.cancel("1@20260107T1000")
        site.slots.delete("1@20260107T1100")
        site.slots.cancel("3@20260109T1002")
        site.session.commit()
        for _ in range(2):
            site.slots.generate()
        quick = site.slots.generate()
        assert quick.skipped == {"cancelled": 2, "deleted": 1, "excluded": 8}
        full = site.slots.generate(full=True)
        assert shown(quick) == shown(full)
        site.clock.turn(days=1)
        assert shown(site.slots.generate(dry_run=True)) == shown(site.slots.generate(dry_run=True, full=True))


def shown(report: Any) -> dict[str, Any]:
    """Return what a report says, but for the time that it took."""
    return {**report.to_dict(), "seconds": 0, "run_id": 0}


@settings(max_examples=25, suppress_health_check=list(HealthCheck), deadline=None)
@given(data=st.data())
def test_quick_and_full_looks_agree(whole: Site, data: st.DataObject) -> None:
    """Whatever becomes of rows where it shows, and however late it is, both looks would do and count the same."""
    table, before = whole.slots.Slot.__table__, whole.clock.now
    stored = [dict(row._mapping) for row in whole.session.execute(table.select())]
    try:
        for place in data.draw(st.lists(st.integers(0, 3 * 56 - 1), max_size=3, unique=True)):
            spoil(whole, whole.rows()[place % len(whole.rows())], data)
        whole.session.commit()
        whole.clock.turn(minutes=data.draw(st.integers(0, 3 * 24 * 60)))
        quick, full = whole.slots.generate(dry_run=True), whole.slots.generate(dry_run=True, full=True)
        assert shown(quick) == shown(full)
    finally:
        whole.session.rollback()
        whole.clock.now = before
        whole.session.execute(table.delete())
        whole.session.execute(table.insert(), stored)
        whole.session.commit()


def spoil(site: Site, row: Any, data: st.DataObject) -> None:
    """Change a row in a way that shows in the starts of its template, or that no top-up minds."""
    table = type(row).__table__
    kind = data.draw(st.sampled_from(["gone", "moved", "more", "cancelled", "booked", "completed"]))
    if kind == "gone":
        site.session.execute(table.delete().where(table.c.id == row.id))
    elif kind == "moved":
        later = timedelta(hours=data.draw(st.integers(-200, 200)))
        change(site, row, starts_at=row.starts_at + later, ends_at=row.ends_at + later)
    elif kind == "more":
        add_row(site, row, timedelta(minutes=data.draw(st.integers(1, 59))))
    elif kind == "booked":
        change(site, row, booked=1)
    else:
        change(site, row, status=kind)
    site.session.expire_all()


def test_without_the_table(database_url: str, tmp_path: Path, looked: Looked) -> None:
    """Where an older version made the database, windows are filled as ever, and the doctor says what it lacks."""
    site = Site(database_url, tmp_path)
    with site.app.app_context():
        site.session.execute(text("DROP TABLE rolling_check"))
        site.session.commit()
        site.add()
        assert site.slots.generate().created == A_WEEK
        assert site.slots.generate().existing == A_WEEK
        assert looked.ids == [1, 1]
        assert "no table rolling_check" in " ".join(each.sentence for each in site.slots.doctor())
        site.session.rollback()


def test_a_shared_transaction_knows_no_checks(tmp_path: Path, looked: Looked) -> None:
    """Where a top-up is a part of the app's own transaction, nothing is noted beside it."""
    site = Site("sqlite:///:memory:", tmp_path)
    with site.app.app_context():
        site.add()
        for _ in range(3):
            site.slots.generate()
        assert looked.ids == [1, 1, 1]
        assert site.session.scalars(select(site.slots.models.Check)).all() == []


# -- slices


def test_slices_come_to_the_same(
    database_url: str, tmp_path: Path, looked: Looked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few templates are seen to at once, all are filled, counted and known."""
    monkeypatch.setattr(slices, "_TEMPLATES", 2)
    site = Site(database_url, tmp_path)
    with site.app.app_context():
        for number in range(5):
            site.add(name=f"{number}", group="odd" if number % 2 else "even")
        report = site.slots.generate()
        assert (report.created, sorted(report.templates)) == (5 * A_WEEK, [1, 2, 3, 4, 5])
        assert {name: tally.created for name, tally in report.groups.items()} == {"even": 168, "odd": 112}
        site.slots.generate()
        looked.forget()
        assert site.slots.generate().existing == 5 * A_WEEK
        assert looked.ids == []
        site.clock.turn(days=1)
        assert site.slots.generate().created == 5 * 8


def test_of_very_many_templates_some_are_named(whole: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report names so many templates at most, first those in which something happened; all of them count."""
    for module in (run, tallies):
        monkeypatch.setattr(module, "MOST_NAMED", 2)
    row = whole.rows()[-1]
    whole.session.delete(row)
    whole.session.commit()
    report = whole.slots.generate()
    assert (list(report.templates), report.unnamed) == ([row.template_id], 2)
    assert (report.created, report.existing, report.expected) == (1, 3 * 56 - 1, 3 * 56)
    assert {name: tally.existing for name, tally in report.groups.items()} == {"group 0": 111, "group 1": 56}
    assert run.results_of(report)["processed"] == 3
    whole.clock.turn(days=1)
    report = whole.slots.generate()
    assert (list(report.templates), report.unnamed, report.created) == ([1, 2], 1, 24)


def test_a_run_that_waits_is_ended_though_its_template_is_not_named(
    whole: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new template's own run is confirmed by one of very many templates, whatever its report names."""
    # The last slot of the first template, which is counted before the new one.
    whole.session.delete(whole.rows()[55])
    whole.add(name="new")
    pending.enter(whole.session.connection(), whole.slots.models, [4], whole.clock.now)
    whole.session.commit()
    for module in (run, tallies):
        monkeypatch.setattr(module, "MOST_NAMED", 1)
    report = whole.slots.generate()
    assert list(report.templates) == [4]
    assert {each.status for each in whole.slots.runs(template=4)} == {"confirmed"}


def test_a_share_of_the_templates_each_request(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While somebody waits, a run sees to one slice, and the next one goes on behind it; the last one confirms all."""
    monkeypatch.setattr(slices, "_TEMPLATES_IN_A_REQUEST", 2)
    site = make(sqlite_url, tmp_path, 7)
    runner, seen, original = site.topup.runner, [], slices.agreeing

    def note(work: Any, briefs: Any, *args: Any, **options: Any) -> Any:
        seen.append([brief.id for brief in briefs])
        return original(work, briefs, *args, **options)

    monkeypatch.setattr(slices, "agreeing", note)
    site.clock.turn(hours=1)
    counts = []
    with runner.context():
        engine = site.db.engine
        statements: list[str] = []
        event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
        for _ in range(3):
            statements.clear()
            with pytest.raises(Interrupted):
                runner.run(runner.acquire(), TopUpRequest("request", until=monotonic() + 60), never)
            counts.append(len(statements))
        assert runner.read_state().confirmed_ms < runner.clock().timestamp() * 1000
        runner.run(runner.acquire(), TopUpRequest("request", until=monotonic()), never)
        assert runner.complete_for(runner.read_state()) > 0
    assert seen == [[1, 2], [3, 4], [5, 6], [7]]
    assert len(set(counts)) == 1
    # A change meanwhile, or a new day: from the first template on.
    site.clock.turn(days=1)
    seen.clear()
    with runner.context(), pytest.raises(Interrupted):
        runner.run(runner.acquire(), TopUpRequest("request", until=monotonic()), never)
    assert seen == [[1, 2]]


def test_the_lease_is_kept_where_nothing_is_written(whole: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that takes long and writes nothing renews its lease between two slices."""
    monkeypatch.setattr(slices, "_TEMPLATES", 1)
    renewed: list[int] = []
    original = run.Lease.renew

    def renew(lease: Any, work: Any) -> None:
        renewed.append(1)
        original(lease, work)

    monkeypatch.setattr(run.Lease, "renew", renew)
    whole.slots.generate()
    few = len(renewed)
    monkeypatch.setattr(run, "monotonic", iter(range(0, 10_000, 60)).__next__)
    renewed.clear()
    whole.slots.generate()
    assert len(renewed) == few + 3


def test_only_what_is_new_is_expanded(whole: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a new day each rule is expanded for that day, once."""
    windows, original = [], screening.expand

    def expand(spec: Any, window: Any, steps: Any = None) -> Any:
        windows.append((spec.id, window.end - window.start))
        return original(spec, window, steps)

    monkeypatch.setattr(screening, "expand", expand)
    whole.clock.turn(days=1)
    whole.slots.generate()
    assert windows == [(number, timedelta(days=1)) for number in (1, 2, 3)]
