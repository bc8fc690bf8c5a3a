"""Files that want to do harm, or are broken: one clear line, soon, and nothing written."""

from __future__ import annotations

import builtins
import time
from typing import TYPE_CHECKING, Any

import pytest
from exchange_site import events, read

from flask_rollingslots.errors import ConfigError, InvalidRequest

if TYPE_CHECKING:
    from exchange_site import Desk

GOOD = "DTSTART:20260105T090000\nDURATION:PT1H\n"

HOSTILE: dict[str, tuple[Any, str]] = {
    "empty": (b"", "the file is empty"),
    "blanks": (b" \n\n", "the file is empty"),
    "cut off": (events(GOOD)[:-14], "the file ends within VCALENDAR: is it cut off"),
    "cut off within the event": (events(GOOD).partition("END:VEVENT")[0], "ends within VEVENT"),
    "closed twice": (events(GOOD) + "END:VCALENDAR\n", "expected the END of what was begun last"),
    "closed in disorder": ("BEGIN:VCALENDAR\nBEGIN:VEVENT\nEND:VCALENDAR\n", "line 3: 'END:VCALENDAR'"),
    "nothing within": ("BEGIN:VCALENDAR\nEND:VCALENDAR\n", "the file has no VEVENT"),
    "text behind": (events(GOOD) + "hello\n", "'hello'; expected BEGIN:VCALENDAR"),
    "a line that is none": (events(GOOD + "hello"), "'hello'; expected NAME:value"),
    "a line behind folded ones": (events("DESCRIPTION:a\n b\n c\n" + GOOD + "hello"), "line 10: 'hello'"),
    "no value": (events("SUMMARY;:;=\n" + GOOD), "expected NAME;PARAMETER=value:value"),
    "not UTF-8": (b"BEGIN:VCALENDAR\nSUMMARY:\xff\xfe\n", "line 2: 0xff is not UTF-8"),
    "UTF-16": (events(GOOD).encode("utf-16"), "line 1: 0xff is not UTF-8"),
    "NUL": (events(GOOD + "SUMMARY:a\0b"), "the control character '\\x00' is no text"),
    "escape": (events(GOOD + "SUMMARY:\x1b[2J"), "the control character '\\x1b'"),
    "5,000 nested components": ("BEGIN:VCALENDAR\n" + "BEGIN:VEVENT\n" * 5000, "nested deeper than 10"),
    "10,001 events": (events(*[GOOD] * 10_001), "more than 10000 events"),
    "a line of 9 MB": (events(GOOD + "SUMMARY:" + "x" * 9_000_000), "SUMMARY = 'SUMMARY:xxx"),
    "a folded line of 9 MB": (events(GOOD + "RDATE:" + "2\n " * 3_000_000), "RDATE = 'RDATE:222"),
    "many parameters": (events(GOOD + "SUMMARY" + ";a=b" * 400_000 + ":x"), "SUMMARY = 'SUMMARY;a=b"),
    "many dates": (events(GOOD + "RDATE:" + ",".join(["20260101"] * 10_001)), "expected at most 10000 dates"),
    "more than 10 MB": (b"x" * (10 * 1024 * 1024 + 1), "the file has more than 10 MB"),
    "no JSON": ("hello", "the file is not JSON: Expecting value in line 1, column 1"),
    "cut off JSON": ('{"templates": [', "the file is not JSON"),
    "nested JSON": ("[" * 100_000, "a number or nesting without end"),
    "rather deep JSON": ('{"name": "x", "a": ' + "[" * 60 + "]" * 60 + "}", "entry 1 ('x'): nested too deep"),
    "endless number": ('{"a": ' + "9" * 5000 + "}", "a number or nesting without end"),
    "not a number": ('{"capacity": NaN}', "a number or nesting without end"),
    "NUL in JSON": ('{"name": "a\\u0000"}', "a character that cannot be stored"),
    "half a character": ('{"name": "x", "\\ud800": 1}', "a character that cannot be stored"),
    "a number alone": ("3", "entry 1: 3; expected an object"),
    "a list of lists": ("[[]]", "entry 1: []; expected an object"),
    "no entries": ("[]", "the file has no entries"),
    "10,001 entries": ("[" + "{}," * 10_000 + "{}]", "the file has 10001 entries; expected at most 10000"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_one_clear_line(kind: str, desk: Desk) -> None:
    """Each ends with exit code 2 and one line without a traceback."""
    content, said = HOSTILE[kind]
    result = desk.bring(content)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("Error: ")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert len(result.stderr) < 400
    assert result.stdout == ""
    with desk.app.app_context():
        assert desk.templates() == []


@pytest.mark.slow
def test_each_is_refused_soon(desk: Desk) -> None:
    """None of them keeps the machine busy: each is refused within ten seconds."""
    for kind, (content, _) in HOSTILE.items():
        started = time.monotonic()
        assert desk.bring(content).exit_code == 2
        assert time.monotonic() - started < 10, kind


def test_a_huge_attachment_does_no_harm() -> None:
    """What is not read may be long: pictures lie in files too."""
    (entry,) = read(events(GOOD + "ATTACH;ENCODING=BASE64:" + "eA==" * 2_000_000))
    assert entry.fields["name"] == "Untitled"


def test_refusals_show_no_control_characters() -> None:
    """What a file says cannot obey the terminal through an error."""
    with pytest.raises(InvalidRequest) as refused:
        read('{"name": "\\u001b[2J\\n", "dtstart": "\\u001b]0;x", "duration_minutes": 5}')
    assert str(refused.value).isprintable()


def test_without_icalendar_the_extra_is_named(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package .ics files are refused with the way out, and JSON works."""
    original = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "icalendar":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ConfigError, match=r"pip install 'Flask-RollingSlots\[ics\]'"):
        read(events(GOOD))
    for result in (desk.bring(events(GOOD)), desk.run("export", "--format", "ics")):
        assert result.exit_code == 1
        assert "Flask-RollingSlots[ics]" in result.stderr
    assert desk.export() == []
