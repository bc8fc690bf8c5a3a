"""The cache only saves work: with any backend, with none, with a broken or a lying one."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from loop_site import DAY, WAIT, Clock, Site, Stop, week

from flask_rollingslots.topup import gate

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers import Valkey

# A client of a server that is gone logs and warns in its own ways; what counts here is what the visitor gets.
pytestmark = pytest.mark.filterwarnings("default::ResourceWarning")


def backend_of(site: Site) -> Any:
    """Return the backend of a site's cache."""
    return next(iter(site.app.extensions["cache"].values()))


class Recording:
    """A cache backend in memory that keeps what it was given."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.stored: dict[str, Any] = {}
        self.gets = 0

    def get(self, key: str) -> Any:
        """Return the poisoned answer, if there is one for this key's kind."""
        self.gets += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer if self.answer is not None else self.stored.get(key)

    def set(self, key: str, value: Any, timeout: int | None = None) -> bool:
        """Keep a value."""
        self.stored[key] = value
        return True


def silence(site: Site) -> Stop:
    """Give a site a cache that does not answer its first question until the test lets it go on."""
    stop = Stop()

    class Silent(Recording):
        def get(self, key: str) -> Any:
            stop()
            return super().get(key)

    silent = Silent()
    site.topup.hint._find = lambda: silent
    return stop


def test_every_kind_of_cache(
    make: Callable[..., Site], sqlite_url: str, cache_config: dict[str, Any], clock: Clock
) -> None:
    """With each backend, reachable or not, the window is complete today and after every midnight."""
    site = make(sqlite_url, cache=cache_config)
    site.add_quietly()
    for days in range(7, 10):
        site.visit("/plain")
        assert site.starts() == week(days=days)
        clock.pass_by(DAY)


def test_without_a_cache(site: Site, clock: Clock) -> None:
    """An app without any cache is served just as well."""
    site.add_quietly()
    for days in range(7, 10):
        site.visit("/plain")
        assert site.starts() == week(days=days)
        clock.pass_by(DAY)


def test_hint_spares_the_other_process_the_database(
    make: Callable[..., Site], sqlite_url: str, tmp_path: Any
) -> None:
    """A second process that finds the hint closed makes no query at all."""
    cache = {"CACHE_TYPE": "FileSystemCache", "CACHE_DIR": str(tmp_path / "cache")}
    first, second = make(sqlite_url, cache=cache), make(sqlite_url, cache=cache)
    first.add_quietly()
    first.visit("/plain")
    with second.counted() as statements:
        second.visit("/plain")
    assert statements == []


def test_stored_values_are_plain_ints(make: Callable[..., Site], sqlite_url: str) -> None:
    """What goes into the cache is an int that says until when, at most CHECK_INTERVAL ahead."""
    site = make(sqlite_url, cache={"CACHE_TYPE": "SimpleCache"})
    recording = Recording()
    site.topup.hint._find = lambda: recording
    template = site.add_quietly()
    site.visit("/plain")
    with site.app.app_context():
        site.slots.ensure(template)
    site.finish()
    now = site.clock().timestamp()
    assert len(recording.stored) == 2
    assert all(type(value) is int for value in recording.stored.values())
    assert all(now < value <= now + 3600 for value in recording.stored.values())


@pytest.mark.parametrize(
    "poison",
    ["tomorrow", True, 4102444800.0, b"\x00", [1], {"until": 1}, -1, RuntimeError("broken"), 10**400],
    ids=["text", "true", "float", "bytes", "list", "dict", "negative", "exception", "huge"],
)
def test_value_that_is_no_hint_is_ignored(site: Site, poison: Any) -> None:
    """A value of another kind, or an exception, never keeps the window from being filled by the first visit."""
    site.topup.hint._find = lambda: Recording(poison)
    site.add_quietly()
    site.visit("/plain")
    assert site.starts() == week()


def test_far_future_value_ends_with_its_day(site: Site, clock: Clock) -> None:
    """A value that claims years, planted under a key of today, delays a fill to the next day at most."""

    class Planted(Recording):
        def get(self, key: str) -> Any:
            return 4102444800 if "2026-03-02" in key else super().get(key)

    site.topup.hint._find = Planted
    site.add_quietly()
    site.visit("/plain")
    clock.pass_by(timedelta(hours=12))
    site.visit("/plain")
    assert set(week(clock.now)) <= set(site.starts())


def test_value_beyond_the_interval_is_in_doubt(
    make: Callable[..., Site], sqlite_url: str, clock: Clock
) -> None:
    """We never write a hint further ahead than CHECK_INTERVAL, so such a value is not believed."""
    site = make(sqlite_url, cache={"CACHE_TYPE": "SimpleCache", "CACHE_DEFAULT_TIMEOUT": 0})
    site.add_quietly()
    recording = Recording(int(clock.now.timestamp()) + 10 * 3600)
    site.topup.hint._find = lambda: recording
    site.visit("/plain")
    assert site.starts() == week()


def test_poisoned_hint_does_not_stop_read_repair(site: Site, clock: Clock) -> None:
    """Whatever the cache claims, a hole that somebody sees is filled."""
    site.topup.hint._find = lambda: Recording(int(clock.now.timestamp()) + 3000)
    site.add_quietly()
    assert len(site.visit()["starts"]) == len(week())
    assert site.starts() == week()


def test_broken_cache_is_left_alone_for_a_while(
    site: Site, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """After an exception the cache is not asked again within the minute, and one warning says so."""
    broken = Recording(RuntimeError("down"))
    site.topup.hint._find = lambda: broken
    site.add_quietly()
    for _ in range(5):
        site.topup.memory.next_check = 0.0
        site.visit("/plain")
    assert broken.gets == 1
    assert len([r for r in caplog.records if "left alone" in r.message]) == 1
    clock.pass_by(timedelta(minutes=61))
    site.visit("/plain")
    assert broken.gets == 2


def test_silent_cache_holds_no_page(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the top-up waits for a cache that gives no answer, pages answer."""
    stop = silence(site)
    monkeypatch.setattr(gate, "CACHE_SECONDS", 2 * WAIT)
    site.add_quietly()
    for _ in range(5):
        assert len(site.get()["starts"]) == len(week())
    assert stop.arrived.wait(WAIT)
    assert site.starts() == []
    stop.go.set()
    site.finish()
    assert site.starts() == week()


def test_silent_cache_is_given_up(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A cache that never answers is left alone: the window is filled before it says anything, with one warning."""
    stop = silence(site)
    monkeypatch.setattr(gate, "CACHE_SECONDS", 0.01)
    site.add_quietly()
    site.visit("/plain")
    assert site.starts() == week()
    stop.go.set()
    assert len([r for r in caplog.records if "left alone" in r.message]) == 1


def test_apps_that_share_a_cache_do_not_share_hints(
    make: Callable[..., Site], sqlite_url: str, valkey: Valkey
) -> None:
    """Two apps with databases of their own on one Redis, same prefix: each fills its own window."""
    cache = {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": valkey.url, "CACHE_KEY_PREFIX": sqlite_url}
    first = make(sqlite_url, cache=cache)
    second = make(sqlite_url.replace("test.db", "other.db"), cache=cache)
    for site in (first, second):
        site.add_quietly()
        site.visit("/plain")
        assert site.starts() == week()
