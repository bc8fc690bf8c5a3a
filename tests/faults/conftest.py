"""Kills, stops, full disks, silent servers: the short forms here, the whole ones with `make faults`.

`test_faults_*.py` hold both forms, `test_proof_*.py` only long proofs; `harness.py`, `proxy.py` and `fault_app.py` are
the fleet that suffers, `mutation_audit.py` takes guards out one by one. `interleaving*.py` let two calls meet at each
of their statements.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parent / "topup"), str(FOLDER.parent / "series")]

from figures import SCALE  # noqa: E402
from harness import Fleet  # noqa: E402
from proxy import Proxy  # noqa: E402
from sqlalchemy import make_url  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from servers import Gunicorn

#: Long proofs have no short form: they are there when FAULTS_SCALE is set, as `make faults` does.
collect_ignore_glob = [] if SCALE else ["test_proof_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the whole forms, and give them time."""
    for item in items:
        if SCALE and FOLDER in item.path.parents:
            item.add_marker(pytest.mark.faults)
            item.add_marker(pytest.mark.timeout(3600))


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the workers import the helpers of both folders."""
    before = os.environ.get("PYTHONPATH")
    paths = [str(FOLDER), str(FOLDER.parent / "topup"), *filter(None, (before,))]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))


@pytest.fixture
def fleet(gunicorn: Callable[..., Gunicorn], tmp_path: Path) -> Callable[..., Fleet]:
    """Start workers on a database: `fleet(url, workers=4, kind="gthread", …)`."""
    return lambda url, **options: Fleet(gunicorn, url, tmp_path, **options)


@pytest.fixture
def proxied() -> Iterator[Callable[[str], tuple[Proxy, str]]]:
    """Put a proxy before a database or cache: its URL becomes another one, through the proxy."""
    proxies: list[Proxy] = []

    def put(url: str) -> tuple[Proxy, str]:
        made, seen = _through(url)
        proxies.append(made)
        return made, seen

    yield put
    for proxy in proxies:
        proxy.close()


def _through(url: str) -> tuple[Proxy, str]:
    if url.startswith("unix://"):  # Valkey
        proxy = Proxy(Path(url.removeprefix("unix://").partition("?")[0]))
        return proxy, f"redis://127.0.0.1:{proxy.port}/0"
    if url.startswith("/"):  # Memcached
        proxy = Proxy(Path(url))
        return proxy, f"127.0.0.1:{proxy.port}"
    parsed = make_url(url)
    query: dict[str, Any] = dict(parsed.query)
    if parsed.get_backend_name() == "postgresql":
        proxy = Proxy(Path(query.pop("host")) / ".s.PGSQL.5432")
    else:
        proxy = Proxy(Path(query.pop("unix_socket")))
    seen = parsed.set(host="127.0.0.1", port=proxy.port, query=query)
    return proxy, seen.render_as_string(hide_password=False)
