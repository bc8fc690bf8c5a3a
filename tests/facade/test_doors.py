"""One decision, many doors: facade, HTTP and command line do the same, and none of them asks a replica.

The replica of this site never learns anything, so whoever decides by it decides wrongly, and is seen doing so.
"""

from __future__ import annotations

import inspect
import json
import shutil
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import HALL
from routed_site import RoutedSite
from sqlalchemy import event, select

from flask_rollingslots import RollingSlots, RollingSlotsError, signals
from flask_rollingslots.api.problems import from_error

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from werkzeug.test import TestResponse

TOKEN = "w" * 40
#: A free slot, one that Ann has booked, one that is held, cancelled, deleted, one without a row, and one that is none.
FREE, BOOKED, HELD, CANCELLED, DELETED = (f"1@20260106T1{hour}00" for hour in range(5))
CLOSED = date(2026, 1, 10)
VIRTUAL, NONE = "1@20260301T1000", "1@20260106T1030"
RED = {"data": {"colour": "red"}}


@dataclass
class Decision:
    """One decision, as it is asked for at each door.

    :param facade: method, positional arguments, named arguments.
    :param http: method, path and body, if there is such a call.
    :param command: words, if there is such a command.
    """

    facade: tuple[str, list[Any], dict[str, Any]]
    http: tuple[str, str, Any] | None = None
    command: list[str] | None = None

    @property
    def can_be_tried(self) -> bool:
        """Whether the call has a dry run."""
        return "dry_run" in inspect.signature(getattr(RollingSlots, self.facade[0])).parameters


def ask(name: str, /, *args: Any, **named: Any) -> tuple[str, list[Any], dict[str, Any]]:
    """Return a call of the facade."""
    return name, list(args), named


def slot_call(key: str, what: str, scope: str) -> tuple[str, str, Any]:
    """Return the HTTP call for a decision about a slot."""
    if what == "delete":
        return "DELETE", f"/slots/{key}?scope={scope}", None
    return "POST", f"/slots/{key}/{what}?scope={scope}", {"reason": "Storm"} if what == "cancel" else {}


def ending(what: str, key: str, scope: str) -> Decision:
    """Return a cancellation, a deletion or a restoration."""
    more = {"reason": "Storm"} if what == "cancel" else {}
    return Decision(ask(what, key, scope, **more), slot_call(key, what, scope))


GYM: dict[str, Any] = {
    "name": "Yoga",
    "group": "gym",
    "rrule": "FREQ=DAILY",
    "dtstart": datetime(2026, 1, 6, 9),
    "timezone": "UTC",
    "duration": timedelta(hours=1),
}
GYM_BODY = {
    **{name: GYM[name] for name in ("name", "group", "rrule", "timezone")},
    "dtstart": "2026-01-06T09:00",
    "duration_minutes": 60,
}
FILE = json.dumps(
    {name: value for name, value in GYM_BODY.items() if name != "rrule"} | {"recurrence": {"type": "daily"}}
).encode()
WIDE = ("this_and_future", "all")

DECISIONS: dict[str, Decision] = {
    "create": Decision(ask("create_template", **GYM), ("POST", "/templates", GYM_BODY)),
    "create, refused": Decision(
        ask("create_template", **{**GYM, "rrule": "FREQ=OFTEN"}),
        ("POST", "/templates", {**GYM_BODY, "rrule": "FREQ=OFTEN"}),
    ),
    "change settings and slots": Decision(
        ask("change_template", 1, group="arena", capacity=5, holidays="ES"),
        ("PATCH", "/templates/1", {"group": "arena", "capacity": 5, "holidays": "ES"}),
    ),
    "change, switched off": Decision(
        ask("change_template", 1, active=False), ("PATCH", "/templates/1", {"active": False})
    ),
    "change, unknown": Decision(
        ask("change_template", 9, capacity=5), ("PATCH", "/templates/9", {"capacity": 5})
    ),
    "change, stale": Decision(ask("change_template", 1, revision=7, capacity=5)),
    "edit one": Decision(ask("edit", FREE, "this", **RED), ("PATCH", f"/slots/{FREE}", RED)),
    "edit one without a row": Decision(
        ask("edit", VIRTUAL, "this", capacity=7), ("PATCH", f"/slots/{VIRTUAL}", {"capacity": 7})
    ),
    "edit one, booked": Decision(
        ask("edit", BOOKED, "this", start=time(20)), ("PATCH", f"/slots/{BOOKED}", {"start": "20:00"})
    ),
    "edit one, none": Decision(ask("edit", NONE, "this", **RED), ("PATCH", f"/slots/{NONE}", RED)),
    **{
        f"edit {scope}": Decision(
            ask("edit", FREE, scope, duration=timedelta(minutes=45), **RED),
            ("PATCH", f"/slots/{FREE}?scope={scope}", {"duration_minutes": 45, **RED}),
        )
        for scope in WIDE
    },
    **{f"cancel {scope}": ending("cancel", BOOKED, scope) for scope in ("this", *WIDE)},
    "cancel again": ending("cancel", CANCELLED, "this"),
    "cancel one without a row": ending("cancel", VIRTUAL, "this"),
    "cancel, none": ending("cancel", NONE, "this"),
    **{f"delete {scope}": ending("delete", FREE, scope) for scope in ("this", *WIDE)},
    "delete, booked": ending("delete", BOOKED, "this"),
    "delete, held": ending("delete", HELD, "this"),
    **{f"restore {scope}": ending("restore", CANCELLED, scope) for scope in ("this", *WIDE)},
    "restore a deleted one": ending("restore", DELETED, "this"),
    "restore with its series": ending("restore", "2@20260107T0900", "all"),
    "complete": Decision(ask("complete", BOOKED), ("POST", f"/slots/{BOOKED}/complete", None)),
    "take a completion back": Decision(
        ask("complete", BOOKED, undo=True), ("POST", f"/slots/{BOOKED}/complete", {"undo": True})
    ),
    "complete, cancelled": Decision(
        ask("complete", CANCELLED), ("POST", f"/slots/{CANCELLED}/complete", None)
    ),
    "cancel the future": Decision(
        ask("cancel_future", 1, date(2026, 1, 6), "Sold"),
        ("POST", "/templates/1/cancel-future", {"from_date": "2026-01-06", "reason": "Sold"}),
        ["cancel-future", "1", "2026-01-06", "--reason", "Sold"],
    ),
    "cancel the future, unknown": Decision(
        ask("cancel_future", 9, date(2026, 1, 6)),
        ("POST", "/templates/9/cancel-future", {"from_date": "2026-01-06"}),
        ["cancel-future", "9", "2026-01-06"],
    ),
    "delete the series": Decision(ask("delete_series", 1), ("DELETE", "/templates/1", None)),
    "restore the series": Decision(
        ask("restore_series", 2), ("POST", "/templates/2/restore", {}), ["restore-series", "2"]
    ),
    "restore the series, unknown": Decision(
        ask("restore_series", 9), ("POST", "/templates/9/restore", {}), ["restore-series", "9"]
    ),
    "switch off": Decision(ask("deactivate", group="club")),
    "switch on": Decision(ask("activate", template=1)),
    "cancel a date": Decision(
        ask("cancel_date", "club", date(2026, 1, 6), "Storm"),
        ("POST", "/cancelled-days", {"day": "2026-01-06", "group": "club", "reason": "Storm"}),
        ["cancel-date", "2026-01-06", "--group", "club", "--reason", "Storm"],
    ),
    "cancel a date without rows": Decision(
        ask("cancel_date", "club", date(2026, 3, 1), "Storm"),
        ("POST", "/cancelled-days", {"day": "2026-03-01", "group": "club", "reason": "Storm"}),
        ["cancel-date", "2026-03-01", "--group", "club", "--reason", "Storm"],
    ),
    "cancel a date, unknown": Decision(
        ask("cancel_date", "nowhere", date(2026, 1, 6)),
        ("POST", "/cancelled-days", {"day": "2026-01-06", "group": "nowhere"}),
        ["cancel-date", "2026-01-06", "--group", "nowhere"],
    ),
    "cancel a date of all": Decision(
        ask("cancel_date", None, date(2026, 1, 6)),
        ("POST", "/cancelled-days", {"day": "2026-01-06"}),
        ["cancel-date", "2026-01-06"],
    ),
    "close a day": Decision(
        ask("close", date(2026, 1, 6), reason="Storm"),
        ("POST", "/closings", {"first": "2026-01-06", "reason": "Storm"}),
        ["close", "2026-01-06", "--reason", "Storm"],
    ),
    "close days of a group": Decision(
        ask("close", date(2026, 1, 6), date(2026, 1, 8), group="club"),
        ("POST", "/closings", {"first": "2026-01-06", "last": "2026-01-08", "group": "club"}),
        ["close", "2026-01-06", "2026-01-08", "--group", "club"],
    ),
    "close days of a template": Decision(
        ask("close", date(2026, 1, 6), template=2),
        ("POST", "/closings", {"first": "2026-01-06", "template": 2}),
        ["close", "2026-01-06", "--template", "2"],
    ),
    "close, unknown": Decision(
        ask("close", date(2026, 1, 6), group="nowhere"),
        ("POST", "/closings", {"first": "2026-01-06", "group": "nowhere"}),
        ["close", "2026-01-06", "--group", "nowhere"],
    ),
    "reopen a day": Decision(
        ask("reopen", CLOSED),
        ("POST", "/closings", {"first": str(CLOSED), "reopen": True}),
        ["close", str(CLOSED), "--reopen"],
    ),
    "import": Decision(ask("import_templates", FILE), command=["import", "-"]),
    "book": Decision(
        ask("book", FREE, 2, "Bob"), ("POST", f"/slots/{FREE}/bookings", {"party": 2, "who": "Bob"})
    ),
    "book one without a row": Decision(
        ask("book", VIRTUAL, who="Bob"), ("POST", f"/slots/{VIRTUAL}/bookings", {"who": "Bob"})
    ),
    "book, full": Decision(ask("book", BOOKED, 2), ("POST", f"/slots/{BOOKED}/bookings", {"party": 2})),
    "hold": Decision(
        ask("hold", FREE, who="Bob", minutes=5),
        ("POST", f"/slots/{FREE}/bookings", {"who": "Bob", "hold_minutes": 5}),
    ),
    "confirm": Decision(ask("confirm", 2), ("POST", "/bookings/2/confirm", None)),
    "confirm, unknown": Decision(ask("confirm", 9), ("POST", "/bookings/9/confirm", None)),
    "release": Decision(ask("release", 1), ("DELETE", "/bookings/1", None)),
    "move": Decision(ask("move", 1, FREE)),
}
#: What decides and needs no list: it is how another one above is written, or nothing of a person's.
NOT_LISTED = {
    "apply_edit", "preview_edit", "materialize", "generate", "prune", "work", "revoke_feed_url", "transaction",
}  # fmt: skip
DECIDING = {
    "activate", "apply_edit", "book", "cancel", "cancel_date", "cancel_future", "change_template", "close", "complete",
    "confirm", "create_template", "deactivate", "delete", "delete_series", "edit", "hold", "import_templates", "move",
    "release", "reopen", "restore", "restore_series",
}  # fmt: skip
TOLD = [each for each in vars(signals).values() if isinstance(each, signals.NamedSignal)]


@dataclass
class Outcome:
    """What a decision left behind.

    :param replica: statements that the replica was asked.
    :param writes: statements on the primary that write, or lock.
    :param told: signals, with what they said.
    :param rows: all rows of ours afterwards, by table.
    :param error: code and sentence of a refusal.
    :param answer: what the door said.
    """

    replica: list[str] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)
    rows: dict[str, list[Any]] = field(default_factory=dict)
    error: tuple[str, str] | None = None
    answer: Any = None


class Doors(RoutedSite):
    """A site at whose doors somebody asks, and everything that follows is written down."""

    def __init__(self, folder: Path, like: Path | None = None) -> None:
        """Make it, with slots in all states; the replica has tables and no row.

        :param like: the folder of one that was made before: its files are copied.
        """
        folder.mkdir()
        for file in like.glob("*.db*") if like is not None else ():
            shutil.copy(file, folder)
        urls = [f"sqlite:///{folder / name}.db" for name in ("primary", "replica")]
        config = {"API_PREFIX": "/api", "API_TOKEN": TOKEN, "ENABLED": False}
        super().__init__(*urls, folder, **{f"ROLLINGSLOTS_{name}": value for name, value in config.items()})
        self.outcome = Outcome()
        if like is None:
            self._fill()
        self._listen()

    def _fill(self) -> None:
        with self.app.app_context():
            for fields in ({**HALL, "group": "club", "capacity": 2}, {**GYM, "name": "Gym"}):
                self.slots.create_template(**fields)
            self.db.session.commit()
            self.slots.generate()
            self.slots.book(BOOKED, who="Ann")
            self.slots.hold(HELD, who="Ann", minutes=20)
            self.slots.cancel(CANCELLED)
            self.slots.delete(DELETED)
            self.slots.delete_series(2)
            self.slots.close(CLOSED)
            self.db.session.commit()

    def _listen(self) -> None:
        @event.listens_for(self.replica, "before_cursor_execute")
        def read(_c: Any, _cursor: Any, statement: str, *_more: Any) -> None:
            self.outcome.replica.append(statement)

        @event.listens_for(self.writer, "before_cursor_execute")
        def write(_c: Any, _cursor: Any, statement: str, *_more: Any) -> None:
            if statement.split()[0] in ("INSERT", "UPDATE", "DELETE", "BEGIN"):
                self.outcome.writes.append(statement)

        def told(signal: Any) -> Callable[..., None]:
            def receive(sender: Any, door: str | None = None, **facts: Any) -> None:
                self.through.add(door)
                self.outcome.told.append((signal.name, plain(facts)))

            return receive

        self.through: set[str | None] = set()
        self.receivers = [(signal, told(signal)) for signal in TOLD]
        for signal, receiver in self.receivers:
            signal.connect(receiver, sender=self.app)

    def close(self) -> None:
        """Let go of everything."""
        for engine in (self.replica, self.writer):
            engine.dispose()

    def facade(self, decision: Decision, dry_run: bool = False) -> Outcome:
        """Ask the facade, and commit as an app does."""
        name, args, named = decision.facade
        more = {"dry_run": True} if dry_run else {}
        with self.app.app_context():
            try:
                answer = getattr(self.slots, name)(*args, **named, **more)
                self.outcome.answer = summary(answer)
                assert not (dry_run and (self.db.session.new or self.db.session.dirty))
                self.db.session.commit()
            except RollingSlotsError as error:
                self.db.session.rollback()
                problem = from_error(error)
                self.outcome.error = (problem.code if problem is not None else "", str(error))
        return self._outcome()

    def http(self, decision: Decision, dry_run: bool = False) -> Outcome:
        """Ask over HTTP."""
        assert decision.http is not None
        method, path, body = decision.http
        if dry_run and method == "DELETE":
            path += f"{'&' if '?' in path else '?'}dry_run=true"
        elif dry_run:
            body = {**(body or {}), "dry_run": True}
        headers = {"Authorization": f"Bearer {TOKEN}"}
        options = {} if body is None else {"json": body}
        response: TestResponse = self.app.test_client().open(
            f"/api{path}", method=method, headers=headers, **options
        )
        self.outcome.answer = response.json if response.data else None
        if response.status_code >= 400:
            assert response.json is not None
            self.outcome.error = (response.json["code"], response.json["detail"])
        return self._outcome()

    def command(self, decision: Decision, dry_run: bool = False) -> Outcome:
        """Ask on the command line."""
        assert decision.command is not None
        more = ["--dry-run"] if dry_run else []
        result = self.app.test_cli_runner().invoke(args=["slots", *decision.command, *more], input=FILE)
        self.outcome.answer = result.output
        if result.exit_code:
            self.outcome.error = ("", result.output.removeprefix("Error: ").strip())
        return self._outcome()

    def _outcome(self) -> Outcome:
        found, self.outcome = self.outcome, Outcome()
        with self.writer.connect() as connection:
            for table in self.app.extensions["rollingslots"].models.tables:
                # What is drawn by lot is left out.
                columns = [each for each in table.columns if each.name not in ("active_key", "token")]
                rows = connection.execute(select(*columns).order_by(*table.primary_key)).all()
                found.rows[table.name] = [tuple(row) for row in rows]
        self.outcome = Outcome()
        return found


def plain(value: Any) -> str:
    """Return what a signal said as a text that is the same in each app."""

    def show(part: Any) -> Any:
        if hasattr(part, "to_dict"):
            return part.to_dict()
        if hasattr(part, "party"):
            return ["booking", part.id, part.who, part.party, part.status, part.slot_id]
        return part.key if hasattr(part, "key") else str(part)

    return json.dumps(value, default=show, sort_keys=True)


def summary(answer: Any) -> Any:
    """Return what an answer of the facade says, alike for what is done and what is only tried."""
    if hasattr(answer, "segments") and hasattr(answer, "plan"):  # of change_template
        shown = [(t.id, t.name, t.group, t.capacity, t.active, t.holidays) for t in answer.segments]
        return shown, answer.plan and summary(answer.plan)
    if hasattr(answer, "to_dict"):
        # Whoever writes settings first raises the revision; a segment that is only planned has no id yet.
        return {k: v for k, v in answer.to_dict().items() if k not in ("revision", "token", "segments")}
    if isinstance(answer, list):
        return list(answer), [booking.id for booking in answer.bookings]
    if hasattr(answer, "rrule"):
        return answer.name, answer.group, answer.rrule, answer.dtstart, answer.capacity
    names = ("key", "status", "starts_at", "ends_at", "capacity", "booked", "data", "cancel_reason")
    bookings = [booking.id for booking in getattr(answer, "affected_bookings", ())]
    return [getattr(answer, name, None) for name in names], bookings


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a site that nobody asks anything."""
    folder = tmp_path_factory.mktemp("doors") / "original"
    Doors(folder).close()
    return folder


@pytest.fixture
def doors(tmp_path: Path, original: Path) -> Any:
    """Make sites that are all alike."""
    made: list[Doors] = []

    def make() -> Doors:
        made.append(Doors(tmp_path / str(len(made)), original))
        return made[-1]

    yield make
    for site in made:
        site.close()


@pytest.mark.parametrize("name", DECISIONS)
def test_each_door_does_the_same(doors: Any, name: str) -> None:
    """Whoever asks, the primary decides, the same rows are written, and each signal is sent once."""
    decision = DECISIONS[name]
    by_facade = doors().facade(decision)
    assert by_facade.replica == []
    assert len(by_facade.told) == len(set(by_facade.told))
    assert bool(by_facade.error) == (", " in name and name != "change, switched off")
    others = [("http", decision.http), ("command", decision.command)]
    for door, asked in others:
        if asked is None:
            continue
        site = doors()
        found: Outcome = getattr(site, door)(decision)
        assert found.replica == [], door
        assert site.through <= {"http" if door == "http" else "cli"}
        assert found.told == by_facade.told, door
        assert found.rows == by_facade.rows, door
        if door == "http":
            assert (found.error and found.error[0]) == (by_facade.error and by_facade.error[0])
        assert (found.error and found.error[1]) == (by_facade.error and by_facade.error[1])


@pytest.mark.parametrize("name", [name for name, decision in DECISIONS.items() if decision.can_be_tried])
def test_a_dry_run_says_it_and_does_nothing(doors: Any, name: str) -> None:
    """A dry run answers as the decision would, and writes, locks, sends and asks the replica nothing."""
    decision, site = DECISIONS[name], doors()
    before = site._outcome().rows
    tried = site.facade(decision, dry_run=True)
    assert (tried.replica, tried.writes, tried.told) == ([], [], [])
    assert tried.rows == before
    if decision.http is not None:
        found = site.http(decision, dry_run=True)
        assert (found.replica, found.writes, found.told, found.rows) == ([], [], [], before)
        assert found.error == tried.error
        if tried.error is None and "complet" not in name:  # which answers with the slot as it would be
            assert found.answer["dry_run"] is True
    if decision.command is not None:
        found = site.command(decision, dry_run=True)
        assert (found.replica, found.writes, found.told, found.rows) == ([], [], [], before)
        assert (found.error and found.error[1]) == (tried.error and tried.error[1])
        assert tried.error or "would " in found.answer.lower()
    done = site.facade(decision)
    assert tried.error == done.error
    assert tried.answer == done.answer


def test_what_is_seen_can_be_applied(doors: Any) -> None:
    """A preview is written as it was seen, from the primary, and told once."""
    site = doors()
    with site.app.app_context():
        seen = site.slots.preview_edit(FREE, "this_and_future", duration=timedelta(minutes=45))
        site.slots.apply_edit(seen)
        site.db.session.commit()
    found = site._outcome()
    assert found.replica == []
    assert [name for name, _ in found.told] == ["series-edited"]
    by_edit = doors().facade(Decision(ask("edit", FREE, "this_and_future", duration=timedelta(minutes=45))))
    assert (found.rows, found.told) == (by_edit.rows, by_edit.told)


def test_the_status_is_that_of_the_primary(doors: Any) -> None:
    """``flask slots status`` does not let a replica that lags cry wolf."""
    found = doors().command(Decision(ask(""), command=["status"]))
    assert (found.replica, found.error) == ([], None)
    assert found.answer.startswith("ok: ")
    assert "run 1: confirmed" in found.answer


def test_every_decision_is_asked_for_at_each_door() -> None:
    """A decision that the facade gets must be added to the list above."""
    public = {
        name for name, _ in inspect.getmembers(RollingSlots, inspect.isfunction) if not name.startswith("_")
    }
    tried = {
        name for name in public if "dry_run" in inspect.signature(getattr(RollingSlots, name)).parameters
    }
    asked = {decision.facade[0] for decision in DECISIONS.values()}
    assert tried - NOT_LISTED <= asked
    assert asked | {"apply_edit"} == DECIDING
    assert public >= DECIDING
