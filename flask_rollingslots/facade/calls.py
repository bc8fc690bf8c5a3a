"""What all calls of the facade begin with: one piece of work, at the moment of the app's clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..context import Work, id_of
from ..extension import Extension
from ..models import SlotMixin, TemplateMixin
from ..series import templates
from ..values import key_of

Key = str | SlotMixin
TemplateOrId = TemplateMixin | int
Text = str | None


class Calls(Extension):
    """Gives each call the work that it hands down."""

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
            work.outbox.send(self._state.app)
