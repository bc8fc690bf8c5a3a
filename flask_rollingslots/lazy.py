"""Imports that wait until they are needed: a process that never books does not load what books.

Who imports lazily says so twice: for readers and type checkers as a plain import under ``TYPE_CHECKING``, at run time
by :func:`lazy`. A test compares the two, so the rules of the house hold for these imports as for all others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from threading import RLock
from types import ModuleType
from typing import Any

_ROOT = __name__.partition(".")[0]
#: How long an import waits for one of another thread, and a fork for any: longer than one takes, shorter than for ever.
_PATIENCE = 5.0
# A process that forks while a thread imports would leave the child a module that nobody finishes.
_importing = RLock()
if hasattr(os, "register_at_fork"):

    def _wait() -> None:
        _importing.acquire(timeout=_PATIENCE)

    def _go_on() -> None:
        if _importing._is_owned():  # type: ignore[attr-defined]
            _importing.release()

    def _begin_anew() -> None:
        global _importing
        _importing = RLock()

    os.register_at_fork(before=_wait, after_in_parent=_go_on, after_in_child=_begin_anew)


@contextmanager
def _alone() -> Iterator[None]:
    """Import one at a time; after some seconds anyhow, for Python itself knows how two imports wait for each other."""
    lock = _importing
    is_alone = lock.acquire(timeout=_PATIENCE)
    try:
        yield
    finally:
        if is_alone:
            lock.release()


class _Lazy(ModuleType):
    """Stands for a module that is imported when somebody asks it for a name."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loaded(), name)

    def _loaded(self) -> ModuleType:
        known = self.__dict__.get("_module")
        if known is None:
            with _alone():
                known = import_module(self.__name__)
            self.__dict__["_module"] = known
        found: ModuleType = known
        return found


def _absolute(name: str) -> str:
    return f"{_ROOT}{name}" if name.startswith(".") else name


def lazy(*names: str) -> Iterator[ModuleType]:
    """Return modules, each of which is imported with the first look at it.

    :param names: ``.room`` or ``.room.file`` for ours, counted from the package itself; all others in full.
    """
    return (_Lazy(_absolute(name)) for name in names)


def lazy_names(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package's front: it imports a name when it is asked for, and keeps it.

    ``dir()`` of the front names them all, for who looks around in a shell.

    :param package: the ``__name__`` of the front.
    :param modules: a module, as of :func:`lazy` -> the names that it has, with blanks between them.
    """
    places = {name: module for module, names in modules.items() for name in names.split()}
    front = vars(import_module(package))
    front["__dir__"] = lambda: sorted({*front, *places})

    def find(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with _alone():
            found = getattr(import_module(_absolute(places[name])), name)
        front[name] = found
        return found

    return find
