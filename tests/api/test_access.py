"""Who may do what: every route of the URL map, with every kind of sender."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from api_site import PREFIX, READ, WRITE, WRONG, ApiSite, bearer, by_tenant
from flask import Flask, abort, request
from sqlalchemy import event

from flask_rollingslots import ConfigError, RollingSlots
from flask_rollingslots.api import make_blueprint

if TYPE_CHECKING:
    from pathlib import Path

KEY = "1@20260106T1000"
FREE = "1@20260107T1000"
REAL = {"template_id": "1", "key": KEY, "booking_id": "1", "run_id": "1"}
SPAN = "start=2026-01-05&end=2026-01-12"
#: What a call needs beside its address; a new call with a body has to be named here.
BODIES: dict[str, Any] = {
    "create_template": {
        "name": "New",
        "group": "hall",
        "dtstart": "2026-01-05T10:00",
        "duration_minutes": 60,
    },
    "change_template": {"capacity": 7},
    "cancel_future": {"from_date": "2026-02-01"},
    "restore_template": {},
    "close_days": {"first": "2026-01-06", "group": "hall"},
    "cancel_day": {"day": "2026-01-06", "group": "hall"},
    "materialize_occurrence": {"original_start": "2026-01-07T10:00"},
    "change_slot": {"capacity": 7},
    "cancel_slot": {},
    "restore_slot": {},
    "complete_slot": {},
    "materialize_slot": {},
    "create_booking": {},
    "change_booking": {"note": "chalk"},
    "confirm_booking": {},
    "forget_person": {"who": "zed"},
    "start_topup": {"group": "hall"},
}
QUERIES = {"list_slots": f"?{SPAN}", "feed_json": f"?{SPAN}"}
#: A booking may name a person: it is no public read.
PERSONAL = ("get_booking", "get_history", "list_bookings")
#: Concerns all tenants, so none of them may do it.
OF_ALL = ("forget_person",)
LISTS = (
    "list_templates",
    "list_series",
    "list_slots",
    "list_bookings",
    "list_topups",
    "get_health",
    "feed_json",
    "feed_ics",
)


class Route:
    """One method of one rule of the URL map."""

    def __init__(self, method: str, rule: Any) -> None:
        self.method, self.name = method, rule.endpoint.partition(".")[2]
        path = re.sub("<([a-z_]+)>", lambda found: REAL.get(found[1], "none"), rule.rule)
        self.path = path.removeprefix(PREFIX) + QUERIES.get(self.name, "")
        if self.name == "delete_slot":
            self.path = self.path.replace(KEY, FREE)
        self.is_public = method == "GET" and self.name not in PERSONAL

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def sent(self, site: ApiSite, headers: dict[str, str] | None = None, token: str | None = None) -> Any:
        """Make the call."""
        body = BODIES[self.name] if self.method in ("POST", "PATCH") else None
        return site.call(self.method, self.path, body, headers=headers, token=token)


def routes() -> list[Route]:
    """Return every call in the URL map of an app with the API."""
    app = Flask("flask")
    app.register_blueprint(make_blueprint(), url_prefix=PREFIX)
    return [
        Route(method, rule)
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("rollingslots_api.") and rule.methods is not None
        for method in sorted(rule.methods - {"HEAD", "OPTIONS"})
    ]


ROUTES = [route for route in routes() if "none" not in route.path]
GUARDED = [route for route in ROUTES if route.name != "openapi"]


def filled(site: ApiSite) -> ApiSite:
    """Add two tenants' templates, and a hold, a run and rows of the first."""
    site.fill("Hall", "Court", capacity=3)
    with site.app.app_context():
        site.slots.generate(template=1)
        site.slots.hold(KEY, who="ada", minutes=30)
        site.session.commit()
    return site


def rows(site: ApiSite) -> list[Any]:
    """Return everything that is stored, to compare."""
    with site.app.app_context():
        models = site.slots.models
        found = []
        for cls in (models.Template, models.Slot, models.Booking):
            table = cls.__table__
            found += [tuple(row) for row in site.session.execute(site.db.select(table).order_by(table.c.id))]
        return found


def make(url: str, folder: Path, **config: Any) -> ApiSite:
    """Return a filled site."""
    return filled(ApiSite(url, folder, ROLLINGSLOTS_EXECUTOR="inline", **config))


def test_without_the_right_token(sqlite_url: str, tmp_path: Path) -> None:
    """Where reads are public, writes are 401 without or with a wrong token, and 403 with one for reading."""
    site = make(sqlite_url, tmp_path, ROLLINGSLOTS_PUBLIC_READS=True)
    before = rows(site)
    for route in GUARDED:
        assert (str(route), route.sent(site).status_code == 401) == (str(route), not route.is_public)
        assert (str(route), route.sent(site, bearer(WRONG)).status_code) == (str(route), 401)
        assert (str(route), route.sent(site, bearer(READ)).status_code == 403) == (
            str(route),
            not route.is_public,
        )
    assert rows(site) == before


@pytest.mark.parametrize("route", GUARDED, ids=str)
def test_with_the_right_token(sqlite_url: str, tmp_path: Path, route: Route) -> None:
    """The token for writing opens every call."""
    answer = route.sent(make(sqlite_url, tmp_path), bearer(WRITE))
    assert answer.status_code < 300, answer.text


def test_private_reads(sqlite_url: str, tmp_path: Path) -> None:
    """Unless reads are public, nothing but one word of health is told without a token."""
    site = make(sqlite_url, tmp_path)
    before = rows(site)
    for route in GUARDED:
        told = 200 if route.name == "get_health" else 401
        assert (str(route), route.sent(site).status_code) == (str(route), told)
        assert (str(route), route.sent(site, bearer(READ)).status_code < 300) == (str(route), route.is_public)
    assert rows(site) == before


def test_nothing_configured(sqlite_url: str, tmp_path: Path) -> None:
    """Without tokens and callback all is 403 with a sentence that says how to enable it, but one word of health."""
    site = make(sqlite_url, tmp_path, ROLLINGSLOTS_API_TOKEN=None, ROLLINGSLOTS_API_READ_TOKEN=None)
    before = rows(site)
    for route, headers in ((route, headers) for route in GUARDED for headers in ({}, bearer(WRONG))):
        answer = route.sent(site, headers)
        if route.name == "get_health":
            assert (answer.status_code, list(answer.json)) == (200, ["status"])
            continue
        code = "reads_disabled" if route.is_public else "writes_disabled"
        assert (str(route), answer.status_code, answer.json["code"]) == (str(route), 403, code)
        assert "ROLLINGSLOTS_API_TOKEN" in answer.json["detail"]
        assert "authorize" in answer.json["detail"]
        assert ("ROLLINGSLOTS_PUBLIC_READS" in answer.json["detail"]) is route.is_public
    assert rows(site) == before


def tenants(url: str, folder: Path) -> ApiSite:
    """Return a site whose callback lets each tenant do everything with its own."""
    site = make(url, folder, ROLLINGSLOTS_API_TOKEN=None, ROLLINGSLOTS_API_READ_TOKEN=None)
    site.slots.authorize(by_tenant)
    return site


def test_another_tenant(sqlite_url: str, tmp_path: Path) -> None:
    """What belongs to another tenant is not found, is in no list, and does not change."""
    site = tenants(sqlite_url, tmp_path)
    before = rows(site)
    for route in GUARDED:
        other = route.sent(site, {"X-Tenant": "court"})
        if route.name in LISTS:
            assert (str(route), other.status_code) == (str(route), 200)
            assert "Hall" not in other.text
            assert "1@2026" not in other.text
        elif route.name in ("create_template", *OF_ALL):
            assert other.status_code == 403
        else:
            assert (str(route), other.status_code) == (str(route), 404)
            assert "hold" not in other.text
    assert rows(site) == before


@pytest.mark.parametrize("route", GUARDED, ids=str)
def test_the_tenant_itself(sqlite_url: str, tmp_path: Path, route: Route) -> None:
    """One's own is there and can be changed, and lists hold nothing else."""
    own = route.sent(tenants(sqlite_url, tmp_path), {"X-Tenant": "hall"})
    if route.name in OF_ALL:
        assert own.status_code == 403
        return
    assert own.status_code < 300, own.text
    assert "Court" not in own.text
    if route.name in ("list_templates", "list_slots"):
        assert "Hall" in own.text


def test_unknown_and_forbidden_are_told_alike(sqlite_url: str, tmp_path: Path) -> None:
    """The answers to what is not there and to what is somebody else's differ in nothing but the number."""
    site = make(sqlite_url, tmp_path, ROLLINGSLOTS_API_TOKEN=None, ROLLINGSLOTS_API_READ_TOKEN=None)
    site.slots.authorize(by_tenant)
    for forbidden, unknown in (
        ("/templates/1", "/templates/9"),
        ("/slots/1@20260106T1000", "/slots/9@20260106T1000"),
        ("/bookings/1", "/bookings/9"),
        ("/topups/1", "/topups/9"),
    ):
        answers = [
            site.call("GET", path, headers={"X-Tenant": "court"}, token=None) for path in (forbidden, unknown)
        ]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert answers[0].text.replace("1", "9", 1) == answers[1].text
        assert dict(answers[0].headers) == dict(answers[1].headers)


def test_a_small_page_of_who_sees_little_is_read_at_once(site: ApiSite) -> None:
    """Seventy hidden templates before the one that may be seen are not looked for two by two."""
    site.fill(*(f"T{n}" for n in range(71)))
    site.slots.authorize(lambda action, template: template is None or template.name == "T70")
    seen: list[str] = []
    with site.app.app_context():
        engine = site.db.engine
    event.listen(engine, "before_cursor_execute", lambda _c, _u, statement, *_rest: seen.append(statement))
    answer = site.call("GET", "/templates?limit=1", token=None)
    assert [each["name"] for each in answer.json["items"]] == ["T70"]
    assert len(seen) <= 3


def test_lists_ask_the_database_as_often_for_one_template_as_for_fifty(site: ApiSite) -> None:
    """The callback is asked for each template, the database is not."""
    site.slots.authorize(lambda action, template: template is None or template.id % 2 == 0)
    counts = []
    for number in (2, 50):
        site.fill(*(f"T{n}" for n in range(number)))
        seen: list[str] = []

        def note(_c: Any, _u: Any, statement: str, *_rest: Any, seen: list[str] = seen) -> None:
            seen.append(statement)

        with site.app.app_context():
            engine = site.db.engine
        event.listen(engine, "before_cursor_execute", note)
        for path in ("/templates", f"/slots?{SPAN}", "/topups"):
            assert site.call("GET", path, token=None).status_code == 200
        event.remove(engine, "before_cursor_execute", note)
        counts.append(len(seen))
    assert counts[0] == counts[1]
    assert counts[0] <= 6


def test_a_write_of_a_cookie_must_come_from_the_same_origin(sqlite_url: str, tmp_path: Path) -> None:
    """With a session cookie a page of another site cannot write; the same origin, no browser, or a token can."""
    site = make(sqlite_url, tmp_path)
    site.slots.authorize(by_tenant)
    client = site.app.test_client()
    with client.session_transaction() as session:
        session["tenant"] = "hall"
    path = f"{PREFIX}/slots/{KEY}/materialize"

    def status(**headers: str) -> int:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return int(client.post(path, headers=sent).status_code)

    assert status() == 200
    assert status(Origin="http://localhost") == 200
    assert status(Sec_Fetch_Site="same-origin", Origin="http://localhost") == 200
    for origin in (
        "https://evil.example",
        "null",
        "http://localhost.evil.example",
        "http://localhost:81",
        "http://[",
    ):
        assert status(Origin=origin) == 403
    for where in ("cross-site", "same-site", "nonsense"):
        assert status(Sec_Fetch_Site=where) == 403
    assert status(Origin="https://evil.example", Authorization=f"Bearer {WRITE}") == 200
    assert client.get(f"{PREFIX}/templates", headers={"Origin": "https://evil.example"}).status_code == 200


def test_a_person_books_and_cancels_for_nobody_else(sqlite_url: str, tmp_path: Path) -> None:
    """Where the callback returns a name, bookings are made in it, and those of others are not found."""
    site = make(sqlite_url, tmp_path)

    def decide(action: str, template: Any) -> bool | str:
        return action == "read" or (action == "book" and request.headers.get("X-User", ""))

    site.slots.authorize(decide)

    def call(method: str, path: str, user: str, body: Any = None) -> Any:
        return site.call(method, path, body, headers={"X-User": user}, token=None)

    made = call("POST", f"/slots/{KEY}/bookings", "bob", {})
    assert (made.status_code, made.json["who"]) == (201, "bob")
    assert call("POST", f"/slots/{KEY}/bookings", "bob", {"who": "ada"}).status_code == 403
    assert call("GET", "/bookings/1", "bob").status_code == 404
    assert call("DELETE", "/bookings/1", "bob").status_code == 404
    assert call("POST", "/bookings/1/confirm", "bob").status_code == 404
    assert call("DELETE", f"/bookings/{made.json['id']}", "bob").status_code == 204
    assert call("POST", f"/slots/{KEY}/cancel", "bob").status_code == 403


def test_old_and_new_tokens_while_they_are_changed(sqlite_url: str, tmp_path: Path) -> None:
    """Of a list every token counts."""
    site = ApiSite(sqlite_url, tmp_path, ROLLINGSLOTS_API_TOKEN=["a" * 32, "b" * 64])
    for token in ("a" * 32, "b" * 64):
        assert site.call("POST", "/topups", {"dry_run": True}, token=token).status_code == 200
    assert site.call("POST", "/topups", {"dry_run": True}, token="a" * 33).status_code == 401


def test_the_callback_may_answer_itself(site: ApiSite) -> None:
    """What it aborts with is the answer, as a problem document; anything but True and a name is no."""
    site.slots.authorize(lambda action, template: abort(401))
    answer = site.call("GET", "/templates/1", token=None)
    assert answer.status_code == 404  # nothing there, so nothing to ask about
    site.fill("Hall")
    answer = site.call("GET", "/templates/1", token=None)
    assert (answer.status_code, answer.mimetype) == (401, "application/problem+json")
    site.slots.authorize(lambda action, template: 1)  # type: ignore[arg-type, return-value]
    assert site.call("GET", "/templates/1", token=None).status_code == 404


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("API_TOKEN", "short", "32 characters"),
        ("API_TOKEN", "", "32 characters"),
        ("API_TOKEN", ["x" * 32, "short"], "32 characters"),
        ("API_TOKEN", 32, "32 characters"),
        ("API_TOKEN", "x" * 31, "32 characters"),
        ("API_TOKEN", "x" * 31 + "\xe9", "ASCII"),
        ("API_TOKEN", "x" * 31 + " ", "ASCII"),
        ("API_TOKEN", "change-me-change-me-change-me-change-me", "placeholder"),
        ("API_TOKEN", "<a token of at least 32 characters>".replace(" ", "-"), "placeholder"),
        ("API_READ_TOKEN", WRITE, "other tokens"),
        ("API_PREFIX", "api", "/api"),
        ("API_PREFIX", "/api/", "/api"),
        ("API_PREFIX", "/<id>", "/api"),
        ("PUBLIC_READS", "no", "True or False"),
        ("API_PUBLIC_READS", True, "it is ROLLINGSLOTS_PUBLIC_READS now, and False by default"),
        ("PUBLIC_DATA", "level", "a tuple of keys"),
        ("PUBLIC_DATA", [1], "a tuple of keys"),
        ("API_WRONG_TOKENS", 0, "whole number"),
        ("API_REQUESTS_PER_MINUTE", 0, "whole number"),
        ("FEED_HOST", "slots.example:https", "the name of a host"),
    ],
)
def test_settings_that_make_no_sense(tmp_path: Path, key: str, value: Any, why: str) -> None:
    """They are refused when the app starts, with a sentence; a token is never shown."""
    app = Flask("settings", instance_path=str(tmp_path))
    app.config.update(ROLLINGSLOTS_API_TOKEN=WRITE, SQLALCHEMY_DATABASE_URI=None)
    app.config[f"ROLLINGSLOTS_{key}"] = value
    with pytest.raises(ConfigError) as caught:
        RollingSlots(app)
    assert key in str(caught.value)
    assert why in str(caught.value)
    if "TOKEN" in key and isinstance(value, str) and value:
        assert value not in str(caught.value)
