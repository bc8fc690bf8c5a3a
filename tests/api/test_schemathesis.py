"""The served OpenAPI document is valid, and the API does what it says: many made-up requests, good and bad.

``make test`` makes some for each call. More than 2,000 for each, about a minute a call:
``.venv/bin/python -m pytest tests/api/test_schemathesis.py -m slow`` (``API_EXAMPLES``: of each of the three kinds).
"""

from __future__ import annotations

import os
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import schemathesis
from api_site import PREFIX, WRITE, ApiSite, bearer
from flask import Flask
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS

from flask_rollingslots.api import make_blueprint

if TYPE_CHECKING:
    from pathlib import Path

#: How many requests of each kind `make test` makes for a call, and how many the slow test makes.
FEW, MANY = 2, int(os.environ.get("API_EXAMPLES", "700"))
_SAYS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
#: What is there in each new site, in place of made-up names that would all be "not found".
REAL = {"template_id": "1", "key": "1@20260106T1000", "booking_id": "1", "run_id": "1"}


def served(app: Flask) -> Any:
    """Return the document that an app serves."""
    answer = app.test_client().get(f"{PREFIX}/openapi.json")
    assert answer.status_code == 200
    return answer.json


def described() -> Any:
    """Return the document of an app that has nothing but the API; writing it takes longer than the requests."""
    app = Flask("flask")
    app.register_blueprint(make_blueprint(), url_prefix=PREFIX)
    return served(app)


DOCUMENT = described()
NAMES = [call["operationId"] for path in DOCUMENT["paths"].values() for call in path.values()]


@pytest.fixture
def ready(sqlite_url: str, tmp_path: Path) -> ApiSite:
    """A site with two templates, rows, a booking and a run, whose top-ups are done within the request."""
    site = ApiSite(sqlite_url, tmp_path, ROLLINGSLOTS_EXECUTOR="inline", ROLLINGSLOTS_API_WRONG_TOKENS=10_000)
    site.fill("Hall", "Court", capacity=5)
    assert site.call("POST", "/topups", {}).status_code == 202
    assert site.call("POST", f"/slots/{REAL['key']}/bookings", {"who": "ada"}).status_code == 201
    return site


def test_the_document_is_valid_and_complete(ready: ApiSite) -> None:
    """It is OpenAPI 3.1, names the address under which it was asked for, and has every route of the blueprint."""
    document = served(ready.app)
    assert document == DOCUMENT
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    assert document["openapi"].startswith("3.1.")
    assert document["servers"] == [{"url": PREFIX}]
    listed = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    routed = set()
    for rule in ready.app.url_map.iter_rules():
        if rule.endpoint.startswith("rollingslots_api.") and rule.methods is not None:
            path = rule.rule.removeprefix(PREFIX).replace("<", "{").replace(">", "}")
            routed |= {(method, path) for method in rule.methods - {"HEAD", "OPTIONS"}}
    assert routed - listed == {("GET", "/openapi.json")}


def attack(site: ApiSite, name: str, examples: int) -> None:
    """Make requests for one call: good ones, bad ones, and bad ones about what is there."""
    schema = schemathesis.openapi.from_dict(deepcopy(DOCUMENT))
    schema.app, schema.location = site.app, f"{PREFIX}/openapi.json"
    (operation,) = (
        found.ok()
        for found in schema.get_all_operations()
        if found.ok().definition.raw["operationId"] == name
    )
    kinds = (
        (GenerationMode.POSITIVE, True, _SAYS),
        (GenerationMode.NEGATIVE, False, (*_SAYS, "negative_data_rejection")),
        (GenerationMode.NEGATIVE, True, _SAYS),
    )
    for mode, is_real, checks in kinds:
        _attack(site, operation, mode, is_real, checks, examples)


def _attack(
    site: ApiSite, operation: Any, mode: GenerationMode, is_real: bool, checks: tuple[str, ...], examples: int
) -> None:
    raw = operation.definition.raw
    if mode is GenerationMode.NEGATIVE and not (raw.get("parameters") or raw.get("requestBody")):
        return  # without anything to say nothing can be said wrongly
    strategy = operation.as_strategy(generation_mode=mode)
    wanted = [check for check in CHECKS.get_all() if check.__name__ in checks]
    assert len(wanted) == len(checks)

    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategy)
    def send(case: Any) -> None:
        if is_real and case.path_parameters:
            case.path_parameters = {key: REAL.get(key, value) for key, value in case.path_parameters.items()}
        answer = case.call(headers={**bearer(WRITE), **(case.headers or {}), **bearer(WRITE)})
        # A body that is too large is refused before anybody reads what is wrong with it.
        said = [check for check in wanted if answer.status_code != 413 or check.__name__ in _SAYS]
        case.validate_response(answer, checks=said)

    send()


def test_bounds_are_said_in_the_words_of_json_schema() -> None:
    """Every number of a query has its bounds as `minimum` and `maximum`, which programs know."""
    names: set[str] = set()

    def look(part: Any) -> None:
        for name, value in part.items() if isinstance(part, dict) else enumerate(part):
            names.add(str(name))
            if isinstance(value, dict | list):
                look(value)

    look(DOCUMENT)
    assert not names & {"ge", "gt", "le", "lt"}
    queries = [
        each for path in DOCUMENT["paths"].values() for call in path.values() for each in call["parameters"]
    ]
    limits = [each["schema"] for each in queries if each["name"] in ("limit", "count")]
    assert len(limits) > 3
    assert all(schema["minimum"] == 1 and schema["maximum"] > 1 for schema in limits)


@pytest.mark.parametrize("name", NAMES)
def test_made_up_requests(ready: ApiSite, name: str) -> None:
    """No made-up request gives a server error, or an answer that the document does not describe."""
    attack(ready, name, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_very_many_made_up_requests(ready: ApiSite, name: str) -> None:
    """The same with more than 2,000 requests for each call."""
    attack(ready, name, MANY)
