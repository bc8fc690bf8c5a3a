"""The app around the API stays as it is: its error pages, its settings, its session; and errors tell nothing."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from api_site import PREFIX, ApiSite, bearer
from flask import Flask, abort, got_request_exception, jsonify
from flask.json.provider import DefaultJSONProvider
from sqlalchemy.exc import OperationalError

from flask_rollingslots import ConfigError, RollingSlots
from flask_rollingslots.api.answers import BookingAnswer
from flask_rollingslots.health import coverage

if TYPE_CHECKING:
    from pathlib import Path


class LoudJson(DefaultJSONProvider):
    """An app's own idea of JSON."""

    def dumps(self, obj: Any, **options: Any) -> str:
        """Write it in capitals."""
        return super().dumps(obj, **options).upper()


@pytest.fixture
def host(sqlite_url: str, tmp_path: Path) -> ApiSite:
    """An app with its own error pages and its own JSON."""
    site = ApiSite(sqlite_url, tmp_path, PROPAGATE_EXCEPTIONS=False)
    app = site.app
    app.json = LoudJson(app)
    for status in (401, 403, 404, 405, 413, 500):
        app.register_error_handler(
            status, lambda error, status=status: (f"our own page for {status}", status)
        )

    @app.get("/broken")
    def broken() -> str:
        raise RuntimeError("ours")

    @app.get("/json")
    def own_json() -> Any:
        return jsonify(a="b")

    return site


def test_the_apps_own_pages_stay(host: ApiSite) -> None:
    """Outside the prefix everything is the app's; below it nothing is."""
    client = host.app.test_client()
    assert client.get("/nowhere").text == "our own page for 404"
    assert client.post("/json").text == "our own page for 405"
    assert client.get("/broken").text == "our own page for 500"
    assert client.get("/apiary").text == "our own page for 404"
    assert client.get("/json").text.strip() == '{"A":"B"}'
    below = client.get(f"{PREFIX}/nowhere")
    assert below.json["detail"] == "there is nothing at this address"
    assert client.post(f"{PREFIX}/templates").json["code"] == "unauthorized"


def test_settings_of_the_app_stay(sqlite_url: str, tmp_path: Path) -> None:
    """Neither config nor error handlers nor URL map change, but for our own routes."""
    plain = ApiSite(sqlite_url, tmp_path, ROLLINGSLOTS_API_PREFIX=None)
    served = ApiSite(sqlite_url, tmp_path)
    names = {"ROLLINGSLOTS_API_PREFIX"}
    left, right = ({k: v for k, v in site.app.config.items() if k not in names} for site in (plain, served))
    assert left == right
    assert plain.app.error_handler_spec[None] == served.app.error_handler_spec[None]
    assert plain.app.url_map.strict_slashes == served.app.url_map.strict_slashes
    assert type(plain.app.json) is type(served.app.json)
    ours = {rule.endpoint.partition(".")[0] for rule in served.app.url_map.iter_rules()}
    assert ours - {rule.endpoint for rule in plain.app.url_map.iter_rules()} == {"rollingslots_api"}


def test_what_nobody_foresaw(
    host: ApiSite, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """500 with an id and nothing else; the log has the details under that id, and who listens for errors hears it."""
    heard: list[Exception] = []

    def hear(sender: Flask, exception: Exception, **_: Any) -> None:
        heard.append(exception)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("password in sqlite:///secret.db")

    monkeypatch.setattr(coverage, "load_specs", fail)
    with got_request_exception.connected_to(hear, host.app):
        answer = host.call("GET", "/health")
    assert (answer.status_code, answer.mimetype, answer.json["code"]) == (
        500,
        "application/problem+json",
        "internal_error",
    )
    assert "password" not in answer.text
    assert "RuntimeError" not in answer.text
    number = answer.json["instance"].removeprefix("urn:uuid:")
    (record,) = [record for record in caplog.records if number in record.getMessage()]
    assert record.exc_info is not None
    assert [str(error) for error in heard] == ["password in sqlite:///secret.db"]


def test_the_database_while_an_answer_is_read() -> None:
    """What goes wrong there is raised as it is, so that a lost race is told as one."""

    class Row:
        """A booking whose slot is read only now."""

        @property
        def slot(self) -> Any:
            """Fail as a database does."""
            raise OperationalError("SELECT", {}, Exception("database is locked"))

    with pytest.raises(OperationalError) as failed:
        BookingAnswer.model_validate(Row())
    assert RollingSlots.is_lost_race(failed.value)


def test_the_apps_own_refusals_before_a_call(host: ApiSite) -> None:
    """What a function of the app aborts with becomes a problem document; an answer of its own stays its own."""
    answers = iter([lambda: abort(403), lambda: abort(418), lambda: ("our own", 503), lambda: abort(503)])

    @host.app.before_request
    def refuse() -> Any:
        return next(answers)()

    found = [host.call("GET", "/templates") for _ in range(4)]
    assert [answer.status_code for answer in found] == [403, 418, 503, 503]
    assert [answer.mimetype == "application/problem+json" for answer in found] == [True, True, False, True]


def test_a_blueprint_at_the_root_leaves_the_rest_to_the_app(sqlite_url: str, tmp_path: Path) -> None:
    """Without a prefix other addresses are the app's own, with its own pages."""
    site = ApiSite(sqlite_url, tmp_path, ROLLINGSLOTS_API_PREFIX=None, ROLLINGSLOTS_PUBLIC_READS=True)
    site.app.register_blueprint(site.slots.api)
    client = site.app.test_client()
    assert client.get("/templates").status_code == 200
    assert client.get("/templates/9").mimetype == "application/problem+json"
    assert client.get("/nowhere").mimetype == "text/html"


def test_without_pydantic_the_extra_is_named(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of the library works without it; whoever mounts the API is told what to install."""
    for name in [name for name in sys.modules if name.startswith("flask_rollingslots.api")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pydantic", None)
    with pytest.raises(ConfigError, match=r"pip install 'Flask-RollingSlots\[api\]'"):
        ApiSite(sqlite_url, tmp_path)
    assert RollingSlots(Flask("plain", instance_path=str(tmp_path)))


def test_nobody_pays_for_an_api_that_is_not_mounted() -> None:
    """Without it pydantic is not even imported."""
    code = (
        "import sys; from flask import Flask; from flask_sqlalchemy import SQLAlchemy; "
        "from flask_rollingslots import RollingSlots; app = Flask('flask'); "
        "app.config['SQLALCHEMY_DATABASE_URI'] = 'sqlite://'; RollingSlots(app, db=SQLAlchemy(app)); "
        "sys.exit('pydantic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_head_and_options(host: ApiSite) -> None:
    """HEAD is GET without a body, OPTIONS names the methods; both are no writes."""
    head = host.call("HEAD", "/templates")
    assert (head.status_code, head.text) == (200, "")
    options = host.app.test_client().options(f"{PREFIX}/templates/1", headers=bearer("x" * 40))
    assert options.status_code == 200
    assert set(options.headers["Allow"].split(", ")) >= {"GET", "PATCH", "DELETE"}


def test_a_race_that_the_database_ended_is_a_conflict(host: ApiSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who lost it is told to try again, and nothing is half written."""

    def lose(*_: Any, **__: Any) -> None:
        raise OperationalError("SELECT secret", {}, Exception("database is locked"))

    monkeypatch.setattr(RollingSlots, "create_template", lose)
    body = b'{"name": "A", "dtstart": "2026-01-05T10:00", "duration_minutes": 60}'
    answer = host.call("POST", "/templates", data=body, content_type="application/json")
    assert answer.status_code == 409, answer.text
    assert (answer.status_code, answer.json["code"], answer.headers["Retry-After"]) == (409, "try_again", "1")
    assert "secret" not in answer.text
