"""Who gets which calendar: tokens, the app's own decision, secret addresses; and what a program need not read again."""

from __future__ import annotations

import hashlib
import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from feed_site import TOKEN, FeedSite, unfolded
from flask import Flask, request
from flask_sqlalchemy import SQLAlchemy
from helpers import Clock
from werkzeug.exceptions import SecurityError

from flask_rollingslots import RollingSlots
from flask_rollingslots.errors import ConfigError, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SPAN = {"start": "2026-11-25T00:00:00Z", "end": "2026-11-26T00:00:00Z"}
OTHER_TOKEN = "another-unguessable-token-of-a-reader"  # noqa: S105 (of a test)


def bearer(token: str) -> dict[str, str]:
    """Return the header that carries a token."""
    return {"Authorization": f"Bearer {token}"}


def two_groups(site: FeedSite) -> FeedSite:
    """Give a site two templates of one group, and one of another."""
    site.evening()
    site.evening(name="Morning", dtstart=datetime(2026, 11, 1, 9))
    site.evening(name="Rival", group="rival")
    return site


@pytest.fixture
def site(sqlite_url: str, tmp_path: Path) -> Iterator[FeedSite]:
    """A site whose reads are for tokens only, with two groups."""
    site = FeedSite(
        sqlite_url,
        tmp_path,
        ROLLINGSLOTS_API_TOKEN=TOKEN,
        ROLLINGSLOTS_API_READ_TOKEN=OTHER_TOKEN,
        ROLLINGSLOTS_PUBLIC_READS=False,
    )
    with site.app.app_context():
        yield two_groups(site)


def secret(site: FeedSite, group: str | None = "club") -> str:
    """Return a group's secret address, as a path below the prefix."""
    with site.app.test_request_context("/", base_url="https://slots.example"):
        request.trusted_hosts = ["slots.example"]
        url = site.slots.feed_url(group)
    place = urlsplit(url)
    assert (place.scheme, place.netloc) == ("https", site.app.config["SERVER_NAME"] or "slots.example")
    assert place.path.startswith("/api/feed/")
    return place.path.removeprefix("/api")


def titles(text: str) -> set[str]:
    """Return what the events of a calendar are called."""
    return {line.removeprefix("SUMMARY:") for line in unfolded(text) if line.startswith("SUMMARY:")}


@pytest.mark.parametrize("path", ["/feed.json", "/feed.ics"])
def test_tokens_open_the_feeds_of_a_private_site(site: FeedSite, path: str) -> None:
    """A token that may read opens them, in the header only; none, a wrong one, or one in the address does not."""
    query = SPAN if path == "/feed.json" else {}
    for token in (TOKEN, OTHER_TOKEN):
        site.get(path, query_string=query, headers=bearer(token))
    site.get(path, 401, query_string=query)
    site.get(path, 401, query_string=query, headers=bearer(TOKEN[:-1]))
    assert site.get(path, 422, query_string={**query, "token": TOKEN}, headers=bearer(TOKEN)).get_json()[
        "errors"
    ]
    site.get(path, 401, query_string={**query, "token": TOKEN})


def test_the_apps_own_decision_counts_for_feeds(sqlite_url: str, tmp_path: Path) -> None:
    """What the app does not let somebody read is in neither feed, and asking for it by id finds nothing."""
    site = FeedSite(sqlite_url, tmp_path)

    @site.slots.authorize
    def decide(action: str, template: Any) -> bool:
        return template is None or template.group == request.headers.get("X-Group")

    with site.app.app_context():
        two_groups(site)
        mine = {"X-Group": "club"}
        events = site.get("/feed.json", query_string=SPAN, headers=mine).get_json()
        assert {event["title"] for event in events} == {"Evening", "Morning"}
        assert titles(site.get("/feed.ics", headers=mine).text) == {"Evening", "Morning"}
        assert titles(site.get("/feed.ics", headers=mine, query_string={"group": "rival"}).text) == set()
        for path, query in (("/feed.json", {**SPAN, "template": 3}), ("/feed.ics", {"template": 3})):
            site.get(path, 404, headers=mine, query_string=query)
            assert site.get(path, headers={"X-Group": "rival"}, query_string=query).data


def test_a_secret_address_is_for_one_group(site: FeedSite) -> None:
    """Without any token it opens this group's calendar and no other; one template of it may be asked for."""
    path = secret(site)
    assert titles(site.get(path).text) == {"Evening", "Morning"}
    assert titles(site.get(path, query_string={"template": 2}).text) == {"Morning"}
    site.get(path, 404, query_string={"template": 3})
    site.get(path, 422, query_string={"group": "rival"})
    assert titles(site.get(secret(site, "rival")).text) == {"Rival"}
    assert titles(site.get(secret(site, None)).text) == {"Evening", "Morning", "Rival"}
    assert secret(site) == path
    assert titles(site.get(secret(site, "nobody")).text) == set()


def test_a_withdrawn_address_is_gone_and_the_others_stay(site: FeedSite) -> None:
    """Once the app commits, the old address is not found, the new one opens, and nobody else's changed."""
    old, rival, everything = secret(site), secret(site, "rival"), secret(site, None)
    site.slots.revoke_feed_url("club")
    site.session.rollback()
    site.get(old)
    for _ in range(2):
        site.slots.revoke_feed_url("club")
        site.session.commit()
        new = secret(site)
        assert new != old
        wrong = site.get(old[:-9] + "x" * 5 + ".ics", 404)
        gone = site.get(old, 404)
        assert gone.get_json() == wrong.get_json()
        assert titles(site.get(new).text) == {"Evening", "Morning"}
        old = new
    site.get(rival)
    site.get(everything)
    site.slots.revoke_feed_url()
    site.session.commit()
    site.get(everything, 404)
    site.get(new)


def test_addresses_are_withdrawn_on_each_database(database_url: str, tmp_path: Path) -> None:
    """Group by group, to the letter; a number that is still among the leases, as it once was, counts on from there."""
    site = FeedSite(database_url, tmp_path)
    with site.app.app_context():
        site.evening(group="Club")
        first, upper, everything = secret(site), secret(site, "Club"), secret(site, None)
        digest = hashlib.sha256(b"club").hexdigest()
        site.session.add(site.slots.models.Lease(name=f"feed:{digest[:48]}", token=1))
        site.session.commit()
        second = secret(site)
        for _ in range(2):
            site.slots.revoke_feed_url("club")
            site.session.commit()
        last = secret(site)
        assert len({first, second, last}) == 3
        for gone in (first, second):
            site.get(gone, 404)
        for there in (last, upper, everything):
            site.get(there)
        assert titles(site.get(upper).text) == {"Evening"}


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "a.b",
        ".",
        "..",
        "%00",
        "%2e%2e",
        "é",
        "WyJjbHViIiwwXQ.AAAA",
        "eyJhIjoxfQ.x",
        "x" * 5000,
        "null",
        "%ff",
    ],
)
def test_a_wrong_secret_finds_nothing(site: FeedSite, text: str) -> None:
    """Whatever stands where the secret should: 404, and no word about why."""
    assert site.get(f"/feed/{text}.ics", 404).get_json()["code"] == "not_found"


def test_a_secret_of_another_kind_finds_nothing(site: FeedSite) -> None:
    """What the app itself signs with the same key for other purposes opens no calendar, nor a note of another form."""
    from itsdangerous import URLSafeSerializer

    from flask_rollingslots.feeds.subscriptions import _signer

    site.get(f"/feed/{URLSafeSerializer('k' * 32).dumps(['club', 0])}.ics", 404)
    for note in ("club", ["club"], {"a": 1, "b": 2}, [["club"], 0], [7, 0], ["club", "0"], None, [{}, 0]):
        site.get(f"/feed/{_signer([site.app.secret_key]).dumps(note)}.ics", 404)


def test_a_new_key_withdraws_all_but_with_the_old_one_as_fallback(site: FeedSite) -> None:
    """SECRET_KEY_FALLBACKS keeps the addresses of the old key, as it keeps sessions; without it all are gone."""
    old = secret(site)
    site.app.config["SECRET_KEY"] = "n" * 32
    site.get(old, 404)
    site.app.config["SECRET_KEY_FALLBACKS"] = ["k" * 32]
    site.get(old)
    new = secret(site)
    assert new != old
    site.app.config["SECRET_KEY_FALLBACKS"] = []
    site.get(new)


def test_what_a_secret_address_needs(sqlite_url: str, tmp_path: Path) -> None:
    """Without SECRET_KEY or without the API there is none, and the error says what to set; a group is a text."""
    site = FeedSite(sqlite_url, tmp_path, SECRET_KEY=None)
    with site.app.test_request_context():
        with pytest.raises(ConfigError, match="set SECRET_KEY"):
            site.slots.feed_url("club")
        with pytest.raises(InvalidRequest, match="group = 7: expected a text"):
            site.slots.feed_url(7)  # type: ignore[arg-type]
        site.get("/feed/x.ics", 404)
    app = Flask("bare", instance_path=str(tmp_path))
    app.config.update(SQLALCHEMY_DATABASE_URI=sqlite_url, SECRET_KEY="k" * 32, ROLLINGSLOTS_ENABLED=False)
    SQLAlchemy(app)
    slots = RollingSlots(app)
    with app.test_request_context(), pytest.raises(ConfigError, match="set ROLLINGSLOTS_API_PREFIX"):
        slots.feed_url("club")


def test_without_icalendar_only_the_calendars_are_missing(
    site: FeedSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The events for widgets need no icalendar; a calendar is not found, and says which extra it needs."""
    path = secret(site)
    monkeypatch.setitem(sys.modules, "icalendar", None)
    site.get("/feed.json", query_string=SPAN, headers=bearer(TOKEN))
    for each, headers in ((path, {}), ("/feed.ics", bearer(TOKEN))):
        assert "Flask-RollingSlots[ics]" in site.get(each, 404, headers=headers).get_json()["detail"]
    with site.app.test_request_context(), pytest.raises(ConfigError, match="ics"):
        site.slots.feed_url("club")


def test_a_visitor_does_not_choose_the_host_of_a_secret_address(sqlite_url: str, tmp_path: Path) -> None:
    """A Host header of anybody gives no address, and the error names what to set: one of three settings decides."""
    site = FeedSite(sqlite_url, tmp_path)

    def url(host: str, **config: Any) -> str:
        site.app.config.update(config)
        with site.app.test_request_context("/", base_url=f"https://{host}/below"):
            return site.slots.feed_url("club").partition("/api/feed/")[0]

    with pytest.raises(ConfigError, match=r"ROLLINGSLOTS_FEED_HOST, .* or SERVER_NAME, or TRUSTED_HOSTS"):
        url("evil.example")
    with site.app.app_context(), pytest.raises(ConfigError, match="ROLLINGSLOTS_FEED_HOST"):
        site.slots.feed_url("club")
    trusted = {"TRUSTED_HOSTS": ["slots.example", ".clubs.example"]}
    assert url("one.clubs.example", **trusted) == "https://one.clubs.example/below"
    with pytest.raises(SecurityError):
        url("evil.example", **trusted)
    assert url("clubs.example", SERVER_NAME="clubs.example") == "https://clubs.example/below"
    set_by = FeedSite(sqlite_url, tmp_path, ROLLINGSLOTS_FEED_HOST="slots.example:8443")
    with set_by.app.test_request_context("/", base_url="https://evil.example"):
        assert set_by.slots.feed_url().startswith("https://slots.example:8443/api/feed/")
    set_by.app.config["PREFERRED_URL_SCHEME"] = "https"
    with set_by.app.app_context():  # such as a mail that a job sends
        assert set_by.slots.feed_url().startswith("https://slots.example:8443/api/feed/")


def test_a_secret_address_ends(sqlite_url: str, tmp_path: Path) -> None:
    """One that was given an end is gone from then on, like one that was withdrawn; the one without goes on."""
    site = FeedSite(sqlite_url, tmp_path, ROLLINGSLOTS_FEED_HOST="slots.example")
    end = site.clock.now + timedelta(days=30)
    with site.app.app_context():
        two_groups(site)
        forever, guest = (site.slots.feed_url("club", end).partition("/api")[2] for end in (None, end))
        assert site.slots.feed_url("club", end).endswith(guest)
        for wrong in (site.clock.now, end.replace(tzinfo=None)):
            with pytest.raises(InvalidRequest, match="expires_at = "):
                site.slots.feed_url("club", wrong)
    site.clock.turn(days=29, hours=23)
    assert site.get(guest).data == site.get(forever).data
    site.clock.turn(hours=1)
    assert site.get(guest, 404).get_json() == site.get("/feed/x.ics", 404).get_json()
    site.get(forever)
    with site.app.app_context():
        site.slots.revoke_feed_url("club")
        site.session.commit()
    site.get(forever, 404)


def test_a_blueprint_that_the_app_mounts_has_addresses_too(sqlite_url: str, tmp_path: Path) -> None:
    """Under any prefix and name, also below another blueprint; outside of a request SERVER_NAME says where."""
    app = Flask("own", instance_path=str(tmp_path))
    app.config.update(
        SQLALCHEMY_DATABASE_URI=sqlite_url,
        SECRET_KEY="k" * 32,
        ROLLINGSLOTS_ENABLED=False,
        SERVER_NAME="slots.example",
    )
    db = SQLAlchemy(app)
    slots = RollingSlots(app, clock=Clock())
    app.register_blueprint(slots.api, url_prefix="/v1", name="calendars")
    with app.app_context():
        db.create_all()
        url = slots.feed_url()
    assert url.startswith("http://slots.example/v1/feed/")
    assert app.test_client().get(url).status_code == 200


def test_an_unchanged_calendar_is_not_sent_again(site: FeedSite) -> None:
    """If-None-Match gives 304 without a body until something changes; a date alone does not decide."""
    path = secret(site)
    first = site.get(path)
    etag, changed = first.headers["ETag"], first.headers["Last-Modified"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        same = site.get(path, 304, headers={"If-None-Match": known})
        assert (same.data, same.headers["ETag"]) == (b"", etag)
        assert "Content-Type" not in same.headers
    assert site.get(path, headers={"If-Modified-Since": changed}).data == first.data
    assert site.get(path, headers={"If-None-Match": '"other"'}).data == first.data
    site.clock.turn(hours=3)
    assert site.get(path, 304, headers={"If-None-Match": etag})
    site.slots.cancel("1@20261125T1900")
    site.session.commit()
    second = site.get(path, headers={"If-None-Match": etag})
    assert second.headers["ETag"] != etag
    assert second.last_modified == site.clock.now
    assert second.last_modified > first.last_modified
    site.slots.book("1@20261126T1900")
    site.session.commit()
    site.get(path, 304, headers={"If-None-Match": second.headers["ETag"]})


def test_what_the_answer_says_about_itself(site: FeedSite) -> None:
    """Type, a name for a file, for private caches only, no referrer from it, nothing for search engines; HEAD too."""
    path = secret(site)
    response = site.get(path)
    expected = {
        "Content-Type": "text/calendar; charset=utf-8",
        "Content-Disposition": 'inline; filename="slots.ics"',
        "Cache-Control": "private, no-cache",
        "Referrer-Policy": "no-referrer",
        "X-Robots-Tag": "noindex",
        "X-Content-Type-Options": "nosniff",
    }
    assert {name: response.headers[name] for name in expected} == expected
    head = site.client.head(f"/api{path}")
    assert (head.status_code, head.data, head.headers["ETag"]) == (200, b"", response.headers["ETag"])
    assert (
        site.get("/feed.json", query_string=SPAN, headers=bearer(TOKEN)).headers["Cache-Control"]
        == "no-store"
    )


def test_uids_are_the_same_for_a_subscriber_and_no_others(site: FeedSite) -> None:
    """UIDs name the host that is asked, or the one that is set: ids alone are not unique on earth."""

    def uids(host: str) -> set[str]:
        lines = unfolded(site.get(secret(site), base_url=f"http://{host}").text)
        return {line for line in lines if line.startswith("UID:")}

    assert uids("a.example:8080") == {"UID:series-1@a.example", "UID:series-2@a.example"}
    site.clock.turn(days=90)
    site.slots.edit("1@20270218T1900", "all", start=datetime(2027, 2, 18, 20))
    site.session.commit()
    assert uids("A.example") == {"UID:series-1@a.example", "UID:series-2@a.example"}
    site.app.config["SERVER_NAME"] = "own.example"
    assert uids("own.example") == {"UID:series-1@own.example", "UID:series-2@own.example"}


def test_the_host_of_uids_is_a_setting(sqlite_url: str, tmp_path: Path) -> None:
    """FEED_HOST decides, whatever host is asked; what is no host is refused at the start."""
    site = FeedSite(sqlite_url, tmp_path, ROLLINGSLOTS_FEED_HOST="slots.example.com")
    with site.app.app_context():
        site.evening()
        assert "UID:series-1@slots.example.com" in site.ics()
    with pytest.raises(ConfigError, match="ROLLINGSLOTS_FEED_HOST = 'a b'"):
        FeedSite(sqlite_url, tmp_path, ROLLINGSLOTS_FEED_HOST="a b")


@pytest.mark.parametrize("count", [8, pytest.param(14, marks=pytest.mark.slow)])
def test_a_large_calendar_in_three_queries(site: FeedSite, count: int) -> None:
    """Many templates with a hundred changed slots each, and the queries are those of one template."""
    cls, template = site.slots.Slot, site.slots.Template
    for number in range(count):
        site.session.add(
            template(
                name=f"Court {number}",
                group="big",
                rrule="FREQ=HOURLY",
                dtstart=datetime(2026, 11, 21),
                timezone="UTC",
                duration=timedelta(minutes=30),
            )
        )
    site.session.commit()
    made = site.session.scalars(site.db.select(template).where(template.group == "big")).all()
    start = datetime(2026, 11, 21, tzinfo=site.clock.now.tzinfo)
    rows = [
        {
            "series_id": each.id,
            "template_id": each.id,
            "original_start": (start + timedelta(hours=hour)).replace(tzinfo=None),
            "starts_at": start + timedelta(hours=hour, minutes=5),
            "ends_at": start + timedelta(hours=hour, minutes=35),
            "customised": ["starts_at"],
            "created_at": site.clock.now,
        }
        for each in made
        for hour in range(100)
    ]
    site.session.execute(site.db.insert(cls), rows)
    site.session.commit()
    path = secret(site, "big")
    site.session.expire_all()
    with site.queries() as statements:
        found = site.get(path)
    assert found.data.count(b"BEGIN:VEVENT") == count + count * 100
    assert found.data.count(b"RECURRENCE-ID") == count * 100
    assert len(statements) == 3
    with site.queries() as statements:
        site.get(secret(site, "rival"))
    assert len(statements) <= 4
