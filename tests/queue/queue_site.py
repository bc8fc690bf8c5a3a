"""An app with a queue that the test holds in its hands: messages wait until the test lets a worker have them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from helpers import HALL, Site
from sqlalchemy import func, select

from flask_rollingslots.queue import Distributor, QueueExecutor

if TYPE_CHECKING:
    from collections.abc import Callable


#: What no database does differently is tried on one.
ONE_SERVER = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


class HandQueue(QueueExecutor):
    """Keeps messages; refuses them while it is down."""

    def __init__(self) -> None:
        """Start empty."""
        super().__init__()
        self.messages: list[tuple[dict[str, Any], float]] = []
        self.is_down = False

    def send(self, message: dict[str, Any], delay: float) -> None:
        """Keep a message, as JSON would keep it."""
        if self.is_down:
            raise ConnectionError("the broker is down")
        self.messages.append((json.loads(json.dumps(message)), delay))

    def mend(self) -> None:
        """Let the queue take messages again, at once."""
        self.is_down, self._broken_until = False, 0.0


class QueueSite(Site):
    """A site whose filling goes to a queue."""

    def __init__(self, url: str, folder: Any, **config: Any) -> None:
        settings = {"EXECUTOR": "queue_site:HandQueue", "ENABLED": True, "SHARD_SIZE": 2, **config}
        super().__init__(url, folder, **{f"ROLLINGSLOTS_{key}": value for key, value in settings.items()})

    @property
    def queue(self) -> HandQueue:
        """The queue."""
        found: HandQueue = self.topup.executor
        return found

    def fill_with(self, number: int, **fields: Any) -> list[int]:
        """Add templates as another process would: nothing starts here, and no run waits for them."""
        templates = [
            self.slots.Template(**{**HALL, "name": f"Hall {n}", "group": f"g{n % 2}", **fields})
            for n in range(number)
        ]
        self.session.add_all(templates)
        self.session.flush()
        self.session.info.clear()
        self.session.execute(self.db.delete(self.slots.Run).where(self.slots.Run.status == "waiting"))
        self.session.commit()
        return [template.id for template in templates]

    def visit(self) -> None:
        """Let the hook notice, as a visitor would, and wait for its job."""
        self.session.remove()
        self.topup.memory.next_check = 0.0
        self.topup.notice()
        self.settle()

    def take(self, index: int = 0) -> dict[str, Any]:
        """Take a message out of the queue."""
        return self.queue.messages.pop(index)[0]

    def work(self, message: dict[str, Any]) -> None:
        """Be a worker for one message."""
        Distributor(self.topup).work(message)

    def drain(self, choose: Callable[[int], int] = lambda count: 0, limit: int = 200) -> int:
        """Be a worker until no message is left; return how many there were."""
        for done in range(limit):
            if not self.queue.messages:
                return done
            self.work(self.take(choose(len(self.queue.messages))))
        raise AssertionError("the queue does not empty")

    def count(self) -> int:
        """Return the number of stored slots."""
        self.session.rollback()
        return self.session.scalar(select(func.count()).select_from(self.slots.Slot)) or 0

    def state(self) -> Any:
        """Return the state row."""
        with self.app.app_context():
            return self.topup.runner.read_state()

    def runs(self) -> list[Any]:
        """Return all runs, the oldest first."""
        self.session.rollback()
        self.session.expire_all()
        return list(self.session.scalars(select(self.slots.Run).order_by(self.slots.Run.id)))
