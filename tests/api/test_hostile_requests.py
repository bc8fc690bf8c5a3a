"""Hostile bodies, headers and queries: refused with a problem document, quickly, and nothing is written."""

from __future__ import annotations

import io
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from api_site import PREFIX, READ, WRITE, WRONG, ApiSite, bearer

if TYPE_CHECKING:
    from pathlib import Path

#: Whatever a server says of itself when it falls over.
LEAKS = ("Traceback", "sqlite", "psycopg", "sqlalchemy", "site-packages", ".py", "SELECT ", 'File "', "0x")
#: Each must be answered within so much, in the slow test.
SECONDS = 0.3

GOOD: dict[str, Any] = {
    "name": "A",
    "dtstart": "2026-01-05T10:00",
    "duration_minutes": 60,
    "rrule": "FREQ=DAILY",
}


def template(**changes: Any) -> bytes:
    """Return the body of a template with some fields changed."""
    return json.dumps({**GOOD, **changes}).encode()


def nested(depth: int) -> bytes:
    """Return a body whose data is nested so deep."""
    return b'{"data": ' + b'{"a": ' * depth + b"1" + b"}" * depth + b"}"


BODIES: dict[str, bytes] = {
    "nothing but space": b"   ",
    "not JSON": b"hello",
    "half an object": b'{"name": "A"',
    "two objects": b"{} {}",
    "a comment": b'{"name": "A" /* x */}',
    "a trailing comma": b'{"name": "A",}',
    "single quotes": b"{'name': 'A'}",
    "a list": b"[]",
    "a text": b'"A"',
    "a number": b"1",
    "null": b"null",
    "true": b"true",
    "NaN": b'{"capacity": NaN}',
    "Infinity": b'{"capacity": Infinity}',
    "minus Infinity": b'{"data": {"a": -Infinity}}',
    "a number beyond floats": b'{"data": {"a": 1e999}}',
    "a number of 5,000 digits": b'{"capacity": ' + b"9" * 5000 + b"}",
    "a number beyond 64 bits": b'{"capacity": 18446744073709551617}',
    "a minus alone": b'{"capacity": -}',
    "hexadecimal": b'{"capacity": 0x10}',
    "nested 33 deep": nested(33),
    "nested 9,000 deep": nested(9000),
    "30,000 open brackets": b"[" * 30_000,
    "a key twice": b'{"name": "A", "name": "B"}',
    "a key twice inside": b'{"data": {"a": 1, "a": 2}}',
    "a lone surrogate": b'{"name": "\\ud800"}',
    "a lone surrogate as key": b'{"data": {"\\udfff": 1}}',
    "NUL": b'{"name": "a\\u0000b"}',
    "NUL inside data": b'{"data": {"a": ["\\u0000"]}}',
    "bytes that are not UTF-8": b'{"name": "\xff\xfe"}',
    "UTF-16": '{"name": "A"}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "a key of 10,000 characters": json.dumps({"data": {"k" * 10_000: 1}}).encode(),
    "a text of 10,001 characters": template(rrule="F" * 10_001),
    "a name of 201 characters": template(name="A" * 201),
    "an unknown field": template(admin=True),
    "fields of the library": template(id=1, series_id=1, revision=7, shift=60),
    "a text as number": template(capacity="5"),
    "a number as text": template(name=5),
    "a float as number": template(capacity=1.5),
    "true as number": template(capacity=True),
    "0 as flag": template(active=0),
    "an object as name": template(name={"$gt": ""}),
    "seconds in the rule": template(rrule="FREQ=SECONDLY"),
    "minutes in the rule": template(rrule="FREQ=MINUTELY;INTERVAL=1"),
    "interval 0": template(rrule="FREQ=DAILY;INTERVAL=0"),
    "COUNT and UNTIL": template(rrule="FREQ=DAILY;COUNT=2;UNTIL=20270101T000000Z"),
    "a rule with a line break": template(rrule="FREQ=DAILY\r\nX-EVIL:1"),
    "a rule of digits that are not ASCII": template(rrule="FREQ=DAILY;INTERVAL=\u0663"),
    "day 32": template(rrule=None, recurrence={"type": "monthly", "month_day": 32}),
    "never, and a count": template(rrule=None, recurrence={"type": "daily", "end": "never", "count": 3}),
    "a zone that is a path": template(timezone="../../etc/passwd"),
    "a zone that is none": template(timezone="Mars/Olympus"),
    "the 31st of February": template(dtstart="2026-02-31T10:00"),
    "the year 0": template(dtstart="0000-01-01T10:00"),
    "the year 10000": template(dtstart="10000-01-01T10:00"),
    "a start with an offset": template(dtstart="2026-01-05T10:00Z"),
    "a start as number": template(dtstart=0),
    "a length of 0": template(duration_minutes=0),
    "a length of ages": template(duration_minutes=10**12),
    "a capacity of ages": template(capacity=10**9),
    "blackouts the wrong way round": template(blackouts=[["2026-02-01", "2026-01-01"]]),
    "a holiday code that is none": template(holidays="ZZ"),
    "SQL in a date": template(dtstart="2026-01-05' OR '1'='1"),
}

JSON = {"Content-Type": "application/json"}
TYPES: dict[str, dict[str, str]] = {
    "text": {"Content-Type": "text/plain"},
    "form": {"Content-Type": "application/x-www-form-urlencoded"},
    "multipart": {"Content-Type": "multipart/form-data; boundary=x"},
    "no type": {"Content-Type": ""},
    "a type that is none": {"Content-Type": '"; drop'},
    "XML": {"Content-Type": "application/xml"},
}
HEADERS: dict[str, dict[str, str]] = {
    "no scheme": {"Authorization": WRITE},
    "another scheme": {"Authorization": f"Basic {WRITE}"},
    "lower case": {"Authorization": f"bearer {WRITE}"},
    "empty": {"Authorization": ""},
    "only the scheme": {"Authorization": "Bearer"},
    "an empty token": {"Authorization": "Bearer "},
    "two spaces": {"Authorization": f"Bearer  {WRITE}"},
    "a space behind": {"Authorization": f"Bearer {WRITE} x"},
    "two tokens": {"Authorization": f"Bearer {WRONG},Bearer {WRITE}"},
    "a part of the token": {"Authorization": f"Bearer {WRITE[:-1]}"},
    "not ASCII": {"Authorization": "Bearer \xe9\xff\u00df" + "x" * 40},
    "a megabyte": {"Authorization": "Bearer " + "x" * 1_000_000},
    "a wrong token": bearer(WRONG),
}
QUERIES = (
    "start=0&end=1",
    "start=2026-01-05",
    "end=2026-01-05",
    "start=2026-01-05T00:00:00&end=2026-01-06T00:00:00",
    "start=2026-01-05T00:00:00Z&end=2026-01-04T00:00:00Z",
    "start=2026-01-05T00:00:00Z&end=2026-04-07T00:00:01Z",
    "start=0001-01-01T00:00:00%2B14:00&end=0001-01-02T00:00:00Z",
    "start=9999-12-31T00:00:00-14:00&end=9999-12-31T23:00:00Z",
    "start=2026-01-05&start=2026-01-06&end=2026-01-07",
    "start=2026-01-05&end=2026-01-06&x=1",
    "start=2026-01-05&end=2026-01-06&template=1%20or%201",
    "start=2026-01-05&end=2026-01-06&template=%D9%A3",
    "start=2026-01-05&end=2026-01-06&template=0",
    "start=2026-01-05&end=2026-01-06&template=99999999999999999999",
    "start=2026-01-05&end=2026-01-06&limit=1001",
    "start=2026-01-05&end=2026-01-06&limit=-1",
    "start=2026-01-05&end=2026-01-06&limit=1_0",
    "start=2026-01-05&end=2026-01-06&limit=",
    "start=2026-01-05&end=2026-01-06&cursor=x",
    "start=2026-01-05&end=2026-01-06&cursor=99999999999999999999.1@20260105T1000",
    "start=2026-01-05&end=2026-01-06&group=",
    "start=2026-01-05&end=2026-01-06&group=%00",
    "start=2026-01-05&end=2026-01-06&token=" + WRITE,
)


def refused(answer: Any, *allowed: int) -> None:
    """Check that an answer is a refusal that says nothing of the server's inside."""
    assert 400 <= answer.status_code < 500, answer.text
    assert not allowed or answer.status_code in allowed, answer.text
    assert answer.mimetype == "application/problem+json"
    document = answer.json
    assert document["status"] == answer.status_code
    assert set(document) >= {"type", "title", "detail", "code"}
    assert not [word for word in LEAKS if word in answer.text], answer.text
    assert WRITE not in answer.text
    if answer.status_code == 422 and document["code"] != "idempotency_conflict":
        assert all(set(fault) == {"field", "value", "expected"} for fault in document["errors"])
    if answer.status_code == 401:
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> ApiSite:
    """A site for what must leave no trace."""
    folder = tmp_path_factory.mktemp("hostile")
    return ApiSite(f"sqlite:///{folder / 'test.db'}", folder)


def send(site: ApiSite, body: bytes, headers: dict[str, str], path: str = "/templates") -> Any:
    """Send bytes as they are."""
    return site.call("POST", path, headers=headers, data=body)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_hostile_body_is_refused(empty: ApiSite, body: bytes) -> None:
    """Nothing but 4xx, whatever the body holds, and no template comes of it."""
    refused(send(empty, body, JSON), 400, 422)
    assert empty.get("/templates")["items"] == []


@pytest.mark.parametrize("headers", TYPES.values(), ids=TYPES)
def test_only_json_is_read(empty: ApiSite, headers: dict[str, str]) -> None:
    """What a form of another site could send is no body of ours."""
    refused(send(empty, template(), headers), 415)


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
def test_a_hostile_token_is_refused(empty: ApiSite, headers: dict[str, str]) -> None:
    """A token counts only as it was given, and only behind ``Bearer``; reading is refused with a wrong one, too."""
    refused(empty.call("POST", "/templates", GOOD, headers=headers, token=None), 401)
    refused(empty.call("GET", "/templates", headers=headers, token=None), 401)


@pytest.mark.parametrize("query", QUERIES)
def test_a_hostile_query_is_refused(empty: ApiSite, query: str) -> None:
    """Queries are as strict as bodies: known names, once each, within their limits."""
    refused(empty.call("GET", f"/slots?{query}"), 404, 422)


def test_bodies_end_at_64_kb(site: ApiSite) -> None:
    """65,536 bytes are read, one more is not, also when no length is said, and the app's own smaller limit holds."""
    padding = {"data": {f"k{n}": "x" * 9000 for n in range(7)}}
    body = template(**padding)
    full = body[:-1] + b" " * (65_536 - len(body)) + b"}"
    assert len(full) == 65_536
    assert send(site, full, JSON).status_code == 201
    refused(send(site, full + b" ", JSON), 413)
    refused(send(site, b"x" * 10_000_000, JSON), 413)
    streamed = site.call(
        "POST",
        "/templates",
        input_stream=io.BytesIO(full + b" "),
        environ_base={"wsgi.input_terminated": True, "CONTENT_TYPE": "application/json"},
    )
    refused(streamed, 413)
    site.app.config["MAX_CONTENT_LENGTH"] = 10**9
    refused(send(site, full + b" ", JSON), 413)
    site.app.config["MAX_CONTENT_LENGTH"] = 50
    refused(send(site, template(), JSON), 413)


def test_each_limit_refuses_the_next_value(site: ApiSite) -> None:
    """At the limit it works, one beyond it is refused with a field and what was expected."""
    (number,) = site.fill("Hall")
    site.get(f"/templates/{number}/preview?count=200")
    site.get("/slots?start=2026-01-05&end=2026-04-07")
    beyond = {
        f"/templates/{number}/preview?count=201": "count",
        "/slots?start=2026-01-05&end=2026-04-08": "end",
        "/templates?from=2026-01-05&to=2036-01-14": "to",
        "/templates?limit=501": "limit",
        "/topups?limit=201": "limit",
    }
    for path, field in beyond.items():
        answer = site.call("GET", path)
        refused(answer, 422)
        assert [fault["field"] for fault in answer.json["errors"]] == [field]
    for body in ({"days": 93}, {"since": "2025-10-05"}, {"days": 0}, {"days": 7, "week": "current"}):
        refused(site.call("POST", "/topups", body), 422)
    assert site.call("POST", "/topups", {"days": 92, "dry_run": True}).status_code == 200
    key = site.get(f"/templates/{number}/preview?count=1")["items"][0]["key"]
    refused(site.call("POST", f"/slots/{key}/bookings", {}, headers={"Idempotency-Key": "k" * 65}), 422)
    refused(site.call("PATCH", f"/slots/{key}", {"capacity": 2}, headers={"If-Match": '"x"'}), 422)


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere", "/", "", "/templates/", "/templates/x", "/templates/0", "/templates/99999999999999999999",
        "/templates/%D9%A3", "/templates/-1", "/templates/1.0", "/slots/x", "/slots/1@20260132T1000",
        "/slots/1@20260105T1000%00", "/slots/999@20260105T1000", "/bookings/9", "/topups/x",
        "/templates/..%2f..%2fetc", "/templates/1'--",
    ],
)  # fmt: skip
def test_addresses_that_lead_nowhere(empty: ApiSite, path: str) -> None:
    """Whatever is below the prefix and is not there is a problem document of 404, never a page of the app."""
    refused(empty.call("GET", path), 404)


def test_methods_that_are_not_there(site: ApiSite) -> None:
    """A known address with another method is 405 with ``Allow``, also for methods that nobody knows."""
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "QUERY", "NONSENSE"):
        answer = site.call(method, "/templates")
        refused(answer, 405)
        assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}
    assert site.call("OPTIONS", "/templates").status_code == 200


def test_wrong_tokens_are_slowed_down_and_right_ones_are_not(sqlite_url: str, tmp_path: Path) -> None:
    """After so many wrong tokens a minute the answer is 429 with ``Retry-After``; a spoofed address does not help."""
    site = ApiSite(sqlite_url, tmp_path, ROLLINGSLOTS_API_WRONG_TOKENS=3)
    for number in range(6):
        spoofed = {"X-Forwarded-For": f"10.0.0.{number}"}
        answer = site.call("GET", "/templates", headers={**bearer(WRONG), **spoofed}, token=None)
        refused(answer, 401 if number < 3 else 429)
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert site.call("GET", "/templates", token=READ).status_code == 200


def test_a_token_may_not_ask_without_end(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each token has so many requests a minute, whoever sends it; then 429 with ``Retry-After`` until the next one."""
    moment = [1000.0]
    monkeypatch.setattr("flask_rollingslots.api.access.monotonic", lambda: moment[0])
    site = ApiSite(
        sqlite_url, tmp_path, ROLLINGSLOTS_API_REQUESTS_PER_MINUTE=3, ROLLINGSLOTS_API_WRONG_TOKENS=1
    )
    for number in range(5):
        moment[0] += 1
        answer = site.call("GET", "/templates", token=WRITE, environ_base={"REMOTE_ADDR": f"10.0.0.{number}"})
        assert answer.status_code == (200 if number < 3 else 429)
    assert (answer.json["code"], answer.headers["Retry-After"]) == ("too_many_requests", "56")
    refused(site.call("POST", "/topups", {}, token=WRITE), 429)
    for status in (401, 429, 429):  # wrong ones from the same address are in no right one's way
        refused(site.call("GET", "/templates", token=WRONG), status)
    assert site.call("GET", "/templates", token=READ).status_code == 200
    assert site.call("GET", "/health", token=None).status_code == 200
    moment[0] += 57
    assert site.call("GET", "/templates", token=WRITE).status_code == 200


def test_tokens_are_nowhere_but_in_the_header(site: ApiSite, caplog: pytest.LogCaptureFixture) -> None:
    """A token in the query or in a cookie does not count, and no log or answer repeats one."""
    caplog.set_level(0)
    client = site.app.test_client()
    client.set_cookie("token", WRITE)
    client.set_cookie("Authorization", f"Bearer {WRITE}")
    refused(client.post(f"{PREFIX}/templates", json=GOOD), 401)
    refused(client.post(f"{PREFIX}/templates?access_token={WRITE}", json=GOOD), 401)
    refused(site.call("POST", "/templates", {"name": WRITE}, token=WRITE), 422)
    logged = [
        record.getMessage() for record in caplog.records if record.name.startswith("flask_rollingslots")
    ]
    assert WRITE not in "\n".join(logged)
    assert WRITE not in repr(site.app.extensions["rollingslots"].settings)


@pytest.mark.slow
def test_hostile_requests_are_refused_at_once(site: ApiSite) -> None:
    """Each of the corpus is answered within 300 ms."""
    site.fill("Hall")
    slowest: tuple[float, str] = (0.0, "")
    corpus = [(name, body, JSON) for name, body in BODIES.items()]
    corpus += [(name, template(), headers) for name, headers in (*TYPES.items(), *HEADERS.items())]
    for name, body, headers in corpus:
        began = time.monotonic()
        refused(send(site, body, headers))
        slowest = max(slowest, (time.monotonic() - began, name))
    for query in QUERIES:
        began = time.monotonic()
        refused(site.call("GET", f"/slots?{query}"))
        slowest = max(slowest, (time.monotonic() - began, query))
    print(  # noqa: T201 (a figure for whoever runs it with -s)
        f"{len(corpus) + len(QUERIES)} hostile requests, the slowest: {slowest[0] * 1000:.0f} ms, {slowest[1]}"
    )
    assert slowest[0] < SECONDS
