"""What a process loads before somebody needs it: imports, set-up and a first request are most of a cold start."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import Any

#: What a page without slots does not need: rooms, doors and libraries.
LATER = {
    *("flask_rollingslots." + name for name in (
        "planning", "recurrence", "browsing", "booking.taking", "booking.resources", "booking.waiting", "series.edits",
        "series.templates", "series.storage", "filling.chunks", "filling.screening", "topup.run", "queue", "pruning",
        "statistics", "health", "feeds", "api", "pages", "cli.generating", "cli.keeping", "cli.looking",
    )),
    "dateutil", "icalendar", "holidays", "pydantic", "itsdangerous.url_safe", "cachelib", "celery",
    "sqlalchemy.dialects.postgresql",
}  # fmt: skip
APP = """
    import json, sys
    from flask import Flask
    from flask_sqlalchemy import SQLAlchemy
    import sqlalchemy.dialects.sqlite.pysqlite

    app = Flask("start")
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///" + sys.argv[1]
    db = SQLAlchemy(app)
    known = set(sys.modules)  # Flask needs itsdangerous, whoever else does
    import flask_rollingslots
    from flask_rollingslots import RollingSlots
    from flask_rollingslots.topup import Executor

    class Kept(Executor):
        def submit(self, job):
            jobs.append(job)
            return True

    jobs = []
    app.config["ROLLINGSLOTS_EXECUTOR"] = "__main__:Kept"
    slots = RollingSlots(app, db=db)
    with app.app_context():
        slots.create_tables()
    app.add_url_rule("/", view_func=lambda: "a page")
    """
ASK = """
    assert app.test_client().get("/").text == "a page"
    assert len(jobs) == 1  # the hook noticed that a top-up is due
    print(json.dumps(sorted(set(sys.modules) - known)))
    """


def loaded(program: str, *arguments: str) -> Any:
    """Run a program in a process of its own; return what it prints last, as JSON."""
    code = textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_page_without_slots_loads_none_of_the_rest(tmp_path: Any) -> None:
    """Import, set-up and a first request load neither what reads, plans, fills and books, nor what that stands on."""
    found = set(loaded(APP + ASK, str(tmp_path / "start.db")))
    assert found & LATER == set()
    assert "flask_rollingslots.extension" in found  # it is there at all


def test_what_is_asked_for_is_loaded(tmp_path: Any) -> None:
    """The first call that plans loads what plans; what books is still not there."""
    ask = """
    from datetime import UTC, datetime, timedelta
    with app.app_context():
        slots.between(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
    print(json.dumps(sorted(sys.modules)))
    """
    found = set(loaded(APP + ask, str(tmp_path / "start.db")))
    assert {"flask_rollingslots.browsing", "flask_rollingslots.planning"} <= found
    assert {"flask_rollingslots.booking.taking", "flask_rollingslots.feeds"} & found == set()


def test_no_module_needs_a_lazy_one_while_it_is_imported() -> None:
    """Each module can be imported without one of its lazy imports being looked at: else it would not be lazy."""
    code = """
    import json, pkgutil, sys
    from importlib import import_module
    import flask_rollingslots
    from flask_rollingslots import lazy

    def refuse(self):
        raise AssertionError(f"{self.__name__} is looked at while something is imported")

    lazy._Lazy._loaded = refuse
    names = [each.name for each in pkgutil.walk_packages(flask_rollingslots.__path__, "flask_rollingslots.")]
    for name in names:
        if name != "flask_rollingslots.queue.celery":  # without Celery there is none
            import_module(name)
    print(json.dumps(len(names)))
    """
    assert loaded(code) > 100


def test_who_looks_around_sees_what_is_not_loaded() -> None:
    """``dir()`` of a package has all that can be imported from it, and loads none of that."""
    code = """
    import json, sys
    import flask_rollingslots, flask_rollingslots.facade
    packages = (flask_rollingslots, flask_rollingslots.facade)
    missing = [name for package in packages for name in package.__all__ if name not in dir(package)]
    print(json.dumps([missing, "flask_rollingslots.health" in sys.modules]))
    """
    assert loaded(code) == [[], False]


def test_an_unknown_name_is_named() -> None:
    """A name that a package does not have is missed in it, not in the module that it might come from."""
    code = """
    import json
    import flask_rollingslots, flask_rollingslots.facade
    said = []
    for package in (flask_rollingslots, flask_rollingslots.facade):
        try:
            package.Nonsense
        except AttributeError as error:
            said.append(str(error))
    print(json.dumps(said))
    """
    assert loaded(code) == [
        "module 'flask_rollingslots' has no attribute 'Nonsense'",
        "module 'flask_rollingslots.facade' has no attribute 'Nonsense'",
    ]


def test_a_fork_waits_for_an_import(tmp_path: Any) -> None:
    """A process that forks while a thread imports leaves the child no module that nobody finishes."""
    (tmp_path / "slowly.py").write_text(
        "import __main__\n__main__.begun.set()\n__main__.forking.wait(20)\nimport wave, chunk, cgi, xml.dom.minidom\n"
        "whole = True\n"
    )
    code = """
    import json, os, sys, threading, warnings
    warnings.simplefilter("ignore")
    sys.path.insert(0, sys.argv[1])
    from flask_rollingslots import lazy
    begun, forking = threading.Event(), threading.Event()
    os.register_at_fork(before=forking.set)  # called first, as it came last
    (slowly,) = lazy.lazy("slowly")
    thread = threading.Thread(target=lambda: slowly.whole)
    thread.start()
    begun.wait(20)
    child = os.fork()
    if child == 0:
        import faulthandler
        faulthandler.dump_traceback_later(20, exit=True)
        os._exit(0 if slowly.whole else 1)
    thread.join()
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), slowly.whole]))
    """
    assert loaded(code, str(tmp_path)) == [0, True]
