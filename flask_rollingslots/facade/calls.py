"""What all calls of the facade begin with: one piece of work, at the moment of the app's clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..context import Work, id_of
from ..errors import refusal
from ..events import Function, check_names
from ..extension import Extension
from ..lazy import lazy
from ..models import SlotMixin, TemplateMixin
from ..values import key_of

if TYPE_CHECKING:
    from ..series import templates
else:
    (templates,) = lazy(".series.templates")

Key = str | SlotMixin
TemplateOrId = TemplateMixin | int
Text = str | None


class Calls(Extension):
    """Gives each call the work that it hands down; and tells an app's functions of what the calls did."""

    def on(self, *names: str) -> Callable[[Function], Function]:
        """Let a function hear of events after the commit: ``@slots.on("booked", "moved")``; for mail and the like.

        It is called with one frozen :class:`~flask_rollingslots.events.Event`, once for each event, in their order,
        after the outermost commit of whichever session wrote it, and never after a rollback. It has an app context,
        so a session, of its own, whose transaction it commits; the request is still there. An error in it is logged,
        without its text, and reaches nobody else. A process that dies between commit and call loses the event.

        :param names: booked, held, waiting, offered, released, moved, party_changed, marked, cancelled, restored,
            deleted, completed, edited, ended, closed, reopened, forgotten.
        :raises InvalidRequest: for a name that no event has; names the nearest.
        """
        if not names:
            raise refusal("names", names, "the name of an event, or several")
        check_names(names)
        return lambda function: self.listeners.add(names, function)

    @contextmanager
    def _deciding(
        self,
        dry_run: bool = False,
        key: Key | None = None,
        revision: int | None = None,
        template: TemplateOrId | None = None,
        who: str | None = None,
    ) -> Iterator[Work]:
        """Give a work that decides, at the revision of a template or slot that was seen; then tell what was done.

        :param who: the person who acts, if nobody else was named.
        """
        work = self._state.writing(dry_run)
        work.outbox.who = work.outbox.who or who
        if revision is not None and template is not None:
            templates.change_template(work, id_of(template), {}, revision)
        elif revision is not None and key is not None:
            templates.check_revision(work, key_of(key), revision)
        yield work
        if not dry_run:
            work.outbox.send(work)
