"""Runs that wait: there from the commit of a new template on, and never for ever."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from loop_site import Clock, Site, hourly, week

if TYPE_CHECKING:
    from collections.abc import Callable


def told(site: Site) -> list[tuple[Any, ...]]:
    """Return what the runs say, oldest first."""
    return [(run.template_id, run.trigger, run.status, run.created) for run in site.runs()]


def quiet(make: Callable[..., Site], url: str, **options: Any) -> Site:
    """Return a site on which a commit alone starts nothing: the next request does."""
    return make(url, executor="inline", **options)


def test_a_run_exists_from_the_commit_on(make: Callable[..., Site], database_url: str) -> None:
    """The newest run of a new template can be asked for at once; its top-up makes it its own."""
    site = quiet(make, database_url)
    with site.app.app_context():
        template = site.slots.create_template(**hourly())
        site.db.session.commit()
        run = site.slots.runs(template=template)[0]
        assert (run.status, run.done, run.total, run.seconds) == ("waiting", 0, 0, None)
        first = run.id
    for _ in range(5):
        site.get("/plain")
    assert len(site.starts()) == len(week())
    (run,) = site.runs()
    assert (run.id, run.status, run.done) == (first, "confirmed", len(week()))


def test_it_is_taken_back_with_the_template(make: Callable[..., Site], sqlite_url: str) -> None:
    """A rollback takes the run away too, and the ORM is a door like the facade; a dry run leaves none."""
    site = quiet(make, sqlite_url)
    with site.app.app_context():
        site.slots.create_template(**hourly(), dry_run=True)
        site.db.session.commit()
        site.slots.create_template(**hourly())
        site.db.session.rollback()
        assert site.slots.runs() == []
        site.db.session.add_all([site.slots.Template(**hourly()) for _ in range(3)])
        with site.counted() as statements:
            site.db.session.commit()
        assert len([text for text in statements if "INSERT INTO rolling_run" in text]) == 1
    assert told(site) == [(number, "edit", "waiting", 0) for number in (1, 2, 3)]


def test_a_run_of_everything_ends_the_waiting(make: Callable[..., Site], database_url: str) -> None:
    """Where another run was first, it confirms the one that waits, with the counts of its template."""
    site = quiet(make, database_url)
    site.add()
    site.add(active=False)
    with site.app.app_context():
        site.slots.generate()
        assert site.slots.runs(template=1)[-1].results["templates"]["1"]["created"] == len(week())
    expected = [(1, "edit", "confirmed", len(week())), (2, "edit", "confirmed", 0)]
    assert told(site) == [*expected, (None, "manual", "confirmed", len(week()))]


def test_one_by_hand_takes_it(make: Callable[..., Site], sqlite_url: str) -> None:
    """A top-up of the template by hand is the run that waited; that of another template leaves it alone."""
    site = quiet(make, sqlite_url)
    site.add()
    site.add()
    with site.app.app_context():
        site.slots.generate(template=2)
    assert told(site) == [(1, "edit", "waiting", 0), (2, "manual", "confirmed", len(week()))]


def test_a_broken_template_waits_on(make: Callable[..., Site], sqlite_url: str, clock: Clock) -> None:
    """What a run had to leave out is not confirmed by it."""
    site = quiet(make, sqlite_url)
    site.add()
    site.add()
    site.sql("UPDATE rolling_template SET timezone = 'Atlantis/Poseidonis' WHERE id = 1")
    with site.app.app_context():
        site.slots.generate()
    assert [status for _, _, status, _ in told(site)] == ["waiting", "confirmed", "failed"]
    site.sql("UPDATE rolling_template SET timezone = 'UTC' WHERE id = 1")
    clock.pass_by(timedelta(hours=2))
    with site.app.app_context():
        site.slots.generate()
    assert "waiting" not in {run.status for run in site.runs()}


def test_nothing_waits_where_nothing_comes(make: Callable[..., Site], sqlite_url: str) -> None:
    """Where top-ups do not start by themselves no run says that it waits for one."""
    site = make(sqlite_url, enabled=False)
    site.add()
    assert told(site) == []
