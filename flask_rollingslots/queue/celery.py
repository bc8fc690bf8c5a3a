"""Top-ups on Celery workers: ``ROLLINGSLOTS_EXECUTOR = "celery"``, with the extra ``[celery]``.

The hook's job stays on a thread of the web process and asks the gate as ever; the request waits for nothing. Only when
something is due, it publishes one small message on a connection of its own with short time-outs, and once: no retry.
Where the broker takes nothing, ``ROLLINGSLOTS_QUEUE_FALLBACK`` says whether the thread fills by itself.

The task is ``flask_rollingslots.work``, on the app's own Celery. What a message may cause, and why losing one
does no harm, stands in ``queue/distributor.py``. Beat is not needed. Uniqueness comes from the lease in the database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from ..errors import ConfigError
from ..topup.executors import SEND_SECONDS, QueueExecutor
from .distributor import Distributor
from .sharding import look

try:
    from celery import Task, shared_task
except ImportError as error:
    raise ConfigError(
        "ROLLINGSLOTS_EXECUTOR = 'celery' needs Celery: install Flask-RollingSlots[celery]", package="celery"
    ) from error

if TYPE_CHECKING:
    from celery import Celery

TASK = "flask_rollingslots.work"
#: A client of Redis would wait for ever; others have a time-out for connecting.
_REDIS = ("redis", "unix", "sentinel", "valkey")
_LIMITS = {"socket_connect_timeout": SEND_SECONDS / 2, "socket_timeout": SEND_SECONDS / 2}
#: A request for a look that nobody takes: the next traffic asks again.
_EXPIRES_SECONDS = 120
#: Which app a Celery works for; neither is kept alive.
_apps: WeakKeyDictionary[Any, ref[Any]] = WeakKeyDictionary()


class CeleryExecutor(QueueExecutor):
    """Publishes on the Celery that the app keeps in ``app.extensions["celery"]``, as Flask's documentation has it."""

    celery: Celery

    def bind(self, app: Any) -> None:
        """Find the app's Celery; ``ConfigError`` if there is none yet."""
        found = app.extensions.get("celery")
        if found is None:
            raise ConfigError(
                "ROLLINGSLOTS_EXECUTOR = 'celery', but this app has no Celery yet: expected it in "
                'app.extensions["celery"]; move the line RollingSlots(app) (or slots.init_app(app)) below the one '
                "that makes it"
            )
        self.celery = found
        _apps[found] = ref(app)

    def send(self, message: dict[str, Any], delay: float) -> None:
        """Publish once; on a connection of its own, so that no pool of a parent process is used after a fork."""
        expires = delay + _EXPIRES_SECONDS if message["do"] == "look" else None
        limits = _LIMITS if str(self.celery.conf.broker_write_url or "").startswith(_REDIS) else None
        options = {"connect_timeout": SEND_SECONDS / 2, "transport_options": limits}
        with self.celery.connection_for_write(**options) as connection:
            how = {"connection": connection, "retry": False, "countdown": delay or None, "expires": expires}
            self.celery.tasks[TASK].apply_async((message,), **how)


# A worker that is killed gives its message back at once; a message that comes twice does no harm.
_OPTIONS = {"bind": True, "ignore_result": True, "acks_late": True, "reject_on_worker_lost": True}


@shared_task(name=TASK, **_OPTIONS)  # type: ignore[untyped-decorator]
def work(self: Task[Any, Any], message: dict[str, Any]) -> None:
    """Do what a message of the library asks for."""
    _distributor(self.app).work(message)


@shared_task(name="flask_rollingslots.look", **_OPTIONS)  # type: ignore[untyped-decorator]
def look_at_all(self: Task[Any, Any]) -> None:
    """Do what a visitor would cause: for beat, in nights without any."""
    _distributor(self.app).work(look(None, "request"))


def _distributor(celery_app: Any) -> Distributor:
    found = _apps.get(celery_app)
    app = found() if found is not None else None
    if app is None:
        raise ConfigError(
            "this Celery serves no app with ROLLINGSLOTS_EXECUTOR = 'celery': make the app in the module that "
            "the worker loads (celery -A module:celery_app worker)"
        )
    return Distributor(app.extensions["rollingslots"].topup)
