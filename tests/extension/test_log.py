"""What the library prints and logs: no line that somebody else wrote, and no value of a statement that failed."""

from __future__ import annotations

import json
import logging
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from helpers import HALL, Site
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError

from flask_rollingslots.booking import taking
from flask_rollingslots.browsing import merging
from flask_rollingslots.errors import InvalidRequest, InvalidTemplate, sentence
from flask_rollingslots.facade import RollingSlots
from flask_rollingslots.topup.run import Run

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

SLOT = "1@20260106T1000"
TOKEN = "t" * 40
#: An escape that clears a screen, a line that is not ours, a bell, the C1 form of an escape, a line and a paragraph
#: separator, and text that runs backwards.
HOSTILE = (
    "\x1b[2J",
    "a\nERROR all is lost",
    "\a",
    "\x9b2J",
    "a\u2028b",
    "a\u2029b",
    "a\u202eb",
    "\u2066b",
    "\x7f",
)
SIGNS = [sign for text in HOSTILE for sign in text if sign not in "[2JaERROR all is lostb"]


class AllDoors(Site):
    """A site with a terminal and the HTTP API, and a template."""

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__(url, folder, ROLLINGSLOTS_API_PREFIX="/api", ROLLINGSLOTS_API_TOKEN=TOKEN)
        with self.app.app_context():
            self.add()

    def run(self, *args: str) -> Result:
        """Run ``flask slots …``."""
        return self.app.test_cli_runner().invoke(args=["slots", *args])

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Make one request with the token."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return self.app.test_client().open(f"/api{path}", method=method, json=body, headers=headers)


@pytest.fixture
def site(sqlite_url: str, tmp_path: Path) -> AllDoors:
    """A site, outside any app context."""
    return AllDoors(sqlite_url, tmp_path)


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_of_one_line_have_no_controls(site: AllDoors, text: str) -> None:
    """Names, groups, resources, persons, keys and reasons with such signs are refused by name, through every door."""
    with site.app.app_context():
        for field in ("name", "group", "resource"):
            with pytest.raises(InvalidTemplate, match=f"^{field} = .*: expected a text .* without control"):
                site.slots.create_template(**{**HALL, field: text})
            with pytest.raises((InvalidTemplate, InvalidRequest), match=f"^{field} = .*: expected a text"):
                site.slots.edit(SLOT, "all", **{field: text})
        with pytest.raises(InvalidRequest, match=r"^name = "):
            site.slots.edit(SLOT, "this", name=text)
        for given in ({"who": text}, {"who": "ada", "idempotency_key": text}):
            with pytest.raises(InvalidRequest, match=f"^{list(given)[-1]} = .*without control characters"):
                site.slots.book(SLOT, **given)
        with pytest.raises(InvalidRequest, match=r"^reason = "):
            site.slots.cancel(SLOT, reason=text)
        site.session.rollback()
        site.session.add(site.slots.Template(**{**HALL, "name": text}))
        with pytest.raises(InvalidTemplate):
            site.session.flush()
        site.session.rollback()
    assert site.call("PATCH", "/templates/1", {"name": text}).status_code == 422
    assert site.call("POST", f"/slots/{SLOT}/bookings", {"who": text}).status_code == 422
    assert site.call("POST", f"/slots/{SLOT}/cancel", {"reason": text}).status_code == 422


def test_letters_of_all_languages_are_names(site: AllDoors) -> None:
    """What people call their offers is taken: accents, Arabic, Hebrew with its marks, emoji made of several signs."""
    names = (
        "Été à Málaga",
        "قاعة الألعاب",
        "\u200fקפה",
        "👩\u200d👧 Family",
        "会議室\u3000A",
        "Q\u00a0&\u00a0A",
    )
    with site.app.app_context():
        for name in names:
            assert site.add(name=name, group=name, resource=name).name == name


def spoil(site: AllDoors) -> None:
    """Give the template a hostile name, as a row may have it from before."""
    with site.app.app_context():
        table = site.slots.Template.__table__
        site.session.execute(table.update().values(name="".join(HOSTILE), group_name="".join(HOSTILE)))
        site.session.commit()


def test_an_old_name_is_in_nobodys_way(site: AllDoors) -> None:
    """A row that has such a name from before can be changed, closed and filled; a new name must be right."""
    spoil(site)
    with site.app.app_context():
        site.slots.change_template(1, capacity=5)
        site.slots.close(date(2026, 1, 6))
        site.session.commit()
        assert site.slots.generate().created > 0
        assert site.week()[0].capacity == 5
        with pytest.raises(InvalidRequest, match="on one line"):
            site.slots.change_template(1, name="".join(HOSTILE))


@pytest.mark.parametrize(
    "args",
    [
        ("templates",),
        ("status",),
        ("generate",),
        ("stats",),
        ("close", "2026-01-06"),
        ("export", "--format", "json"),
        ("templates", "--json"),
        ("status", "--json"),
    ],
    ids=" ".join,
)
def test_commands_print_no_controls(site: AllDoors, args: tuple[str, ...]) -> None:
    """What a row holds from before is printed as escapes, a line stays a line, and JSON says the same text."""
    with site.app.app_context():
        site.slots.generate()
        site.slots.book(SLOT, who="ada")
        site.session.commit()
    spoil(site)
    found = site.run(*args)
    printed = found.stdout + found.stderr
    assert not [sign for sign in SIGNS if sign != "\n" and sign in printed]
    assert not [line for line in printed.splitlines() if line.startswith("ERROR")]
    if args == ("templates", "--json"):
        assert json.loads(found.stdout)[0]["name"] == "".join(HOSTILE)
    if args == ("templates",):
        assert r"\x1b[2J" in printed
        assert len(printed.splitlines()) == 1


def test_an_error_prints_no_controls(site: AllDoors) -> None:
    """What somebody types, and gets back in an error, is on one line too."""
    printed = site.run("templates", "--group", "\x1b[2J").output
    printed += (
        site.run("stats", "--group", "a\u202eb").output + site.run("explain", "9", "2026-01-06T10:00").output
    )
    assert not [sign for sign in SIGNS if sign != "\n" and sign in printed]


def test_the_log_has_one_line_for_one_record(
    site: AllDoors, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A template that cannot be read is named as escapes, wherever it is complained of."""
    monkeypatch.setattr(
        merging, "_complained", set()
    )  # another test may have met such a template of this number
    spoil(site)
    with site.app.app_context():
        site.session.execute(site.slots.Template.__table__.update().values(rrule="FREQ=\x1b[2J\nERROR"))
        site.session.commit()
        site.week()
        site.slots.generate()
    told = [record.getMessage() for record in caplog.records]
    assert len(told) >= 2
    assert r"\x1b[2J" in "".join(told)
    assert not [sign for sign in SIGNS for text in told if sign in text]


# -- values of statements


PARAMETERS = ("ada.lovelace@example.com", "Ada Lovelace", "+34 600 000 000")
ORIGINAL = Exception(
    1062, f"Duplicate entry '{PARAMETERS[0]}' for key 'ix_who'\nDETAIL: Key (who)=({PARAMETERS[1]})"
)


def fail(*_args: Any, **_more: Any) -> Any:
    """Fail as a database does that says too much."""
    statement = "INSERT INTO rolling_booking (who, name, phone) VALUES (?, ?, ?)"
    raise IntegrityError(statement, PARAMETERS, ORIGINAL) from ORIGINAL


def discreet(*texts: str) -> None:
    """Expect that no text names anybody."""
    assert not [value for value in PARAMETERS for text in texts if value in text]


def formatted(caplog: pytest.LogCaptureFixture) -> str:
    """Return the log as a file has it."""
    return "\n".join(logging.Formatter().format(record) for record in caplog.records)


def test_a_request_that_fails_names_nobody_in_the_log(
    site: AllDoors, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that the database refuses is logged with where it came from, without whose booking it was."""
    monkeypatch.setattr(taking, "book", fail)
    answer = site.call("POST", f"/slots/{SLOT}/bookings", {"who": PARAMETERS[0]})
    assert answer.status_code == 500
    log = formatted(caplog)
    discreet(answer.text, log)
    assert "in fail" in log
    assert "IntegrityError" not in answer.text
    assert "Duplicate entry … for key 'ix_who'" in log


def test_a_topup_that_fails_names_nobody(
    site: AllDoors, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its log, nor health, nor a command says more than the kind of failure."""
    monkeypatch.setattr(Run, "fill", fail)
    told = site.run("generate")
    health = site.call("GET", "/health")
    discreet(told.output, formatted(caplog), health.text, site.run("status").output)
    assert health.json["last_error"] == "Exception: Duplicate entry … for key 'ix_who'"


@pytest.mark.parametrize("args", [("status",), ("templates",), ("templates", "--json")])
def test_a_command_that_fails_says_one_line(
    site: AllDoors, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...]
) -> None:
    """What the database says ends a command with a sentence and an exit code, without a traceback and its values."""
    for name in ("health", "templates"):
        monkeypatch.setattr(RollingSlots, name, fail)
    found = site.run(*args)
    discreet(found.output)
    assert found.exit_code == 1
    assert found.output == "Error: Exception: Duplicate entry … for key 'ix_who'\n"
    assert isinstance(found.exception, SystemExit)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Duplicate entry 'ada' for key 'ix_who'", "Duplicate entry … for key 'ix_who'"),
        ("Duplicate entry 'O'Neill' for key 'ix_who'", "Duplicate entry … for key 'ix_who'"),
        ('invalid input syntax for type integer: "ada"', "invalid input syntax for type integer: …"),
        ('duplicate key value violates unique constraint "c"\nDETAIL:  Key (who)=(ada) already exists.',
         'duplicate key value violates unique constraint "c"'),
        ("Incorrect DATE value: 'ada' for column `x` at row 1", "Incorrect DATE value: … for column `x` at row 1"),
        ("Data too long for column 'who' at row 1", "Data too long for column 'who' at row 1"),
        ("You have an error near 'ada\n' at line 1", "You have an error near …"),
        ("UNIQUE constraint failed: rolling_booking.who", "UNIQUE constraint failed: rolling_booking.who"),
        ('relation "rolling_slot" does not exist', 'relation "rolling_slot" does not exist'),
        ("Can't connect to MySQL server on '127.0.0.1'", "Can't connect to MySQL server on '127.0.0.1'"),
    ],
)  # fmt: skip
def test_what_a_database_says_without_its_values(said: str, told: str) -> None:
    """Names of tables and columns stay, what may be a value does not; whatever the driver puts into the text."""
    assert sentence(OperationalError("SELECT ?", ("ada",), Exception(1, said))) == f"Exception: {told}"


def test_an_error_that_the_app_logs_has_no_values(sqlite_url: str, tmp_path: Path) -> None:
    """A call that the database fails raises its error without the values of the statement, nobody's name among them."""
    site = Site(sqlite_url, tmp_path)
    with site.app.app_context():
        site.add()
        site.slots.generate()
        refuse = "CREATE TRIGGER no BEFORE INSERT ON rolling_booking BEGIN SELECT RAISE(ABORT, 'no'); END"
        site.session.execute(text(refuse))
        site.session.commit()
        with pytest.raises(IntegrityError) as failed:
            site.slots.book(site.week()[0].key, who="Ada-Secret")
        assert "Ada-Secret" not in str(failed.value)
        assert "INSERT" in str(failed.value)
