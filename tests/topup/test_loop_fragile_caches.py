"""The cache only saves work: whatever touches it may fail, at any point, in any way, and every slot is made."""

from __future__ import annotations

import threading
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from loop_site import Site, week

from flask_rollingslots.topup import gate

if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 200


class Expired(BaseException):
    """What greenlets raise when a time-out of theirs is over: no Exception."""


class Unspeakable(Exception):
    """An error that cannot even be said."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class Touches:
    """Counts what is done to a cache, and lets one of it fail."""

    def __init__(self) -> None:
        self.number, self.fails_at, self.error = 0, 0, BaseException

    def begin(self, fails_at: int, error: type[BaseException]) -> None:
        """Count anew."""
        self.number, self.fails_at, self.error = 0, fails_at, error

    def note(self) -> None:
        """Count one, and let it fail if it is its turn."""
        self.number += 1
        if self.number == self.fails_at:
            raise self.error("the cache")


class Fragile:
    """Any object, each touch of which is counted: attributes, calls, truth, length, iteration, hash, comparison."""

    def __init__(self, inner: Any, touches: Touches) -> None:
        object.__setattr__(self, "_inner", inner)
        object.__setattr__(self, "_touches", touches)

    def __getattribute__(self, name: str) -> Any:
        inner, touches = object.__getattribute__(self, "_inner"), object.__getattribute__(self, "_touches")
        touches.note()
        found = getattr(inner, name)
        return Fragile(found, touches) if callable(found) else found


def _passes(name: str) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        inner, touches = object.__getattribute__(self, "_inner"), object.__getattribute__(self, "_touches")
        touches.note()
        result = getattr(inner, name)(*args, **kwargs) if name != "__bool__" else bool(inner)
        if name == "__call__" and type(result).__name__ in ("dict_values", "dict_items"):
            result = iter(result)
        return Fragile(result, touches) if hasattr(result, "__next__") else result

    return method


for _name in ("call", "bool", "len", "iter", "next", "hash", "eq", "contains", "getitem"):
    setattr(Fragile, f"__{_name}__", _passes(f"__{_name}__"))


class Backend:
    """A cache that works."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        """Return what is kept."""
        return self.kept.get(key)

    def set(self, key: str, value: Any, timeout: int | None = None) -> bool:
        """Keep a value."""
        self.kept[key] = value
        return True


class SimpleCache(Backend):
    """The same, of a kind that is asked without a thread."""


def again(site: Site) -> None:
    """Let a site stand as it did before its first visitor."""
    for table in ("rolling_slot", "rolling_lease", "rolling_run"):
        site.sql(f"DELETE FROM {table}")  # noqa: S608 (names of ours)
    site.topup.memory.reset()
    site.topup.hint._broken_until = 0.0


@pytest.mark.parametrize(
    ("kind", "error"), [(Backend, OSError), (Backend, Expired), (SimpleCache, Unspeakable)]
)
def test_whatever_fails_of_a_cache_every_slot_is_made(
    site: Site, kind: type[Backend], error: type[BaseException]
) -> None:
    """Each touch of registry and backend fails in its turn, until nothing is left to fail: the window is full."""
    site.add_quietly()
    touches = Touches()
    for turn in count(1):
        again(site)
        backend: Any = Fragile(kind(), touches)
        if kind is SimpleCache:
            backend = kind()
            backend.get, backend.set = Fragile(backend.get, touches), Fragile(backend.set, touches)
        site.app.extensions["cache"] = Fragile({"any": backend}, touches)
        touches.begin(turn, error)
        site.visit("/plain")
        assert site.starts() == week(), f"touch {turn}"
        if touches.number < turn:
            break
        assert turn < MOST
    assert turn > 8
    assert site.topup.experience.failures == 0


@pytest.mark.parametrize("error", [RuntimeError, Expired])
@pytest.mark.parametrize("where", ["start", "join", "is_alive", "made"])
def test_a_thread_that_is_not_to_be_had(
    site: Site, monkeypatch: pytest.MonkeyPatch, where: str, error: type[BaseException]
) -> None:
    """The thread that asks the cache cannot be made, started, or waited for: the database is asked."""
    real = threading.Thread

    def fail(*_args: Any, **_kwargs: Any) -> Any:
        raise error("no thread")

    def make(*args: Any, **kwargs: Any) -> threading.Thread:
        thread = real(*args, **kwargs)
        if kwargs["name"] == "rollingslots-cache":
            if where == "made":
                fail()
            setattr(thread, where, fail)
        return thread

    monkeypatch.setattr(gate.threading, "Thread", make)
    site.add_quietly()
    site.app.extensions["cache"] = {"any": Backend()}
    site.visit("/plain")
    assert site.starts() == week()
    assert site.topup.experience.failures == 0


class Odd(int):
    """A number whose comparison, arithmetic and truth raise."""

    def _fail(self, *_args: Any) -> Any:
        raise ValueError("odd")

    __lt__ = __gt__ = __le__ = __ge__ = __eq__ = __sub__ = __rsub__ = __bool__ = __index__ = __int__ = _fail
    __hash__ = int.__hash__


@pytest.mark.parametrize(
    "answer",
    [
        float("nan"),
        float("inf"),
        10**400,
        -(10**400),
        "9" * 30,
        b"1",
        True,
        [],
        {},
        Odd(5),
        object(),
        lambda: 1,
    ],
    ids=lambda answer: type(answer).__name__,
)
def test_nonsense_from_a_cache(site: Site, answer: Any) -> None:
    """Whatever a cache answers that is no number of seconds in reach, the window is full."""

    class Nonsense(Backend):
        def get(self, key: str) -> Any:
            return answer

        def set(self, key: str, value: Any, timeout: int | None = None) -> Any:
            return answer

    site.add_quietly()
    site.app.extensions["cache"] = {"any": Nonsense()}
    site.visit("/plain")
    assert site.starts() == week()
    assert site.topup.experience.failures == 0


@pytest.mark.parametrize(
    "registry", [[], 7, "cache", object(), {"a": None}, {1: 2}], ids=lambda it: type(it).__name__
)
def test_a_registry_that_is_none(site: Site, registry: Any) -> None:
    """What an app keeps under the name of its caches need not be one; the doctor says what it is, or nothing."""
    site.add_quietly()
    site.app.extensions["cache"] = registry
    site.visit("/plain")
    assert site.starts() == week()
    done = site.app.test_cli_runner().invoke(args=["slots", "doctor"])
    assert done.exception is None or isinstance(done.exception, SystemExit)


def test_a_cache_that_cannot_be_found(make: Callable[..., Site], sqlite_url: str) -> None:
    """A cache that was passed and cannot be a key of anything stops neither the set-up nor the top-up."""
    site = make(sqlite_url)
    site.add_quietly()
    find = site.topup.find_cache
    assert find() is not None
    site.app.extensions["cache"] = Fragile({}, broken := Touches())
    broken.begin(1, OSError)
    found = site.app.test_cli_runner().invoke(args=["slots", "doctor"])
    assert "the cache does not answer: OSError: the cache" in found.output
    site.visit("/plain")
    assert site.starts() == week()


def test_ctrl_c_is_still_heard(site: Site) -> None:
    """What ends the process is no failure of the cache, and goes on."""

    class Interrupting(SimpleCache):
        def get(self, key: str) -> Any:
            raise KeyboardInterrupt

    Interrupting.__name__ = "SimpleCache"
    hint = gate.CacheHint(Interrupting, 3600)
    with pytest.raises(KeyboardInterrupt):
        hint.closed_for("key", site.clock())
