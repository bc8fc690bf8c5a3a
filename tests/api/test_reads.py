"""Who reads what: the app's own fields, the state of the deployment, and what the OpenAPI document says of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from api_site import PREFIX, READ, ApiSite
from flask import abort, request
from sqlalchemy import text

if TYPE_CHECKING:
    from pathlib import Path

SPAN = "start=2026-01-05&end=2026-01-12"
KEY = "1@20260106T1000"
DATA = {"level": "beginners", "wage": 31, "summary": "the payroll", "description": "the boss comes"}
#: Reads that show templates or slots, each with a key of the list in which they are, if it is one.
READS = (
    "/templates",
    "/templates/1",
    "/templates/1/preview",
    f"/slots?{SPAN}",
    f"/slots/{KEY}",
    f"/feed.json?{SPAN}",
    "/feed.ics",
)


def offered(site: ApiSite) -> ApiSite:
    """Add a template with fields of the app's own, and one slot with another value of one."""
    site.fill("Hall", data=DATA, reminder_before=timedelta(hours=1))
    with site.app.app_context():
        site.slots.edit(KEY, "this", data={"summary": "a secret feast"})
        site.session.commit()
    return site


def told(site: ApiSite, token: str | None = None, **headers: str) -> str:
    """Return all that the reads answer."""
    answers = [site.call("GET", path, headers=headers, token=token) for path in READS]
    assert {answer.status_code for answer in answers} == {200}
    return "".join(answer.text for answer in answers)


def test_the_public_sees_of_data_what_is_named(sqlite_url: str, tmp_path: Path) -> None:
    """Of ``data`` anybody sees the keys of PUBLIC_DATA only, in no read more; a token sees all."""
    config = {"ROLLINGSLOTS_PUBLIC_READS": True, "ROLLINGSLOTS_PUBLIC_DATA": ("level",)}
    site = offered(ApiSite(sqlite_url, tmp_path, **config))
    public = told(site)
    assert "beginners" in public
    assert not [word for word in ("wage", "31,", "summary", "payroll", "feast", "boss") if word in public]
    assert site.get(f"/slots/{KEY}", token=None)["data"] == {"level": "beginners"}
    assert site.get("/templates/1", token=None)["data"] == {"level": "beginners"}
    assert "a secret feast" in told(site, READ)
    assert "DESCRIPTION:the boss comes" in site.call("GET", "/feed.ics", token=READ).text
    assert site.get(f"/slots/{KEY}", token=READ)["data"] == {**DATA, "summary": "a secret feast"}


def test_who_may_edit_sees_all_of_data(sqlite_url: str, tmp_path: Path) -> None:
    """Where the callback decides, a visitor sees what is public, and whoever may edit a template all of it."""
    site = offered(ApiSite(sqlite_url, tmp_path, ROLLINGSLOTS_PUBLIC_DATA=["level"]))
    asked: list[tuple[str, int]] = []

    @site.slots.authorize
    def decide(action: str, template: Any) -> bool:
        asked.append((action, template.id))
        return action == "read" or "X-Owner" in request.headers

    visitor, owner = told(site), told(site, **{"X-Owner": "yes"})
    assert not [word for word in ("wage", "payroll", "feast") if word in visitor]
    assert not [word for word in ("wage", "payroll", "feast") if word not in owner]
    asked.clear()
    assert site.call("GET", f"/slots?{SPAN}", token=None).json["items"][1]["data"] == {"level": "beginners"}
    assert asked.count(("edit", 1)) == 1  # not once for each slot


def test_a_preview_shows_what_the_sender_may_know_of(site: ApiSite) -> None:
    """The next slots of a series are told only as far as they belong to segments that may be read."""
    site.fill("Hall")
    with site.app.app_context():
        site.slots.edit("1@20260107T1000", "this_and_future", group="other")
        site.session.commit()
    site.slots.authorize(lambda action, template: template is not None and template.group == "hall")
    found = site.call("GET", "/templates/1/preview?count=9", token=None).json["items"]
    assert len(found) == 9
    for count in (40, 100):
        found = site.call("GET", f"/templates/1/preview?count={count}", token=None).json["items"]
        assert {slot["key"][:10] for slot in found} <= {"1@20260105", "1@20260106"}


def test_the_state_is_for_everybody_and_the_figures_for_readers(site: ApiSite) -> None:
    """Health says one word to whom the callback refuses, figures to whom it lets read all, errors to tokens only."""
    site.fill("Hall", "Court")
    with site.app.app_context():
        site.session.execute(text("UPDATE rolling_template SET rrule = 'FREQ=SECRET' WHERE name = 'Hall'"))
        site.session.commit()

    @site.slots.authorize
    def decide(action: str, template: Any) -> bool:
        return "X-Reader" in request.headers or abort(401)  # type: ignore[no-any-return]

    stranger = site.call("GET", "/health", token=None)
    assert (stranger.status_code, list(stranger.json)) == (200, ["status"])
    reader = site.call("GET", "/health", token=None, headers={"X-Reader": "yes"}).json
    assert reader["promised"] > 0
    assert [bool(each["error"]) for each in reader["templates"]] == [True, False]
    assert "SECRET" not in str(reader)
    assert "SECRET" in str(site.get("/health", token=READ))


def test_the_document_says_which_reads_need_a_token(sqlite_url: str, tmp_path: Path) -> None:
    """Reads need one unless they are public; health never; with a callback all may do without."""
    token, optional = [{"bearer": []}], [{}, {"bearer": []}]

    def security(site: ApiSite) -> list[Any]:
        paths = site.app.test_client().get(f"{PREFIX}/openapi.json").json["paths"]
        secret = paths["/feed/{secret}.ics"]["get"]
        assert "security" not in secret
        calls = (paths["/slots"]["get"], paths["/templates"]["post"], paths["/health"]["get"])
        return [call["security"] for call in calls]

    private = ApiSite(sqlite_url, tmp_path)
    assert security(private) == [token, token, optional]
    assert security(ApiSite(sqlite_url, tmp_path, ROLLINGSLOTS_PUBLIC_READS=True)) == [
        optional,
        token,
        optional,
    ]
    private.slots.authorize(lambda action, template: True)
    assert security(private) == [optional, optional, optional]
