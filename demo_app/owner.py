"""What the owner sees: all templates, the form for a new one, its first week being filled, and single slots."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from flask import Blueprint, abort, current_app, flash, redirect, render_template, request, url_for
from sqlalchemy import func, select

from flask_rollingslots.errors import InvalidRequest, InvalidRule, InvalidTemplate, StatusConflict
from flask_rollingslots.values import RunStatus, State, Window

from . import forms
from .models import db, slots
from .venues import find_venue, load_venues

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from flask_rollingslots import TemplateMixin

pages = Blueprint("owner", __name__, url_prefix="/owner")

_PREVIEW = 5
_RUNS = 20


@dataclass(frozen=True)
class Progress:
    """How far the first week of a template is.

    :param status: ``waiting``, ``running``, ``confirmed`` or ``failed``.
    """

    status: str
    done: int
    total: int

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self.status in (RunStatus.CONFIRMED, RunStatus.FAILED)


@pages.get("/")
def overview() -> str:
    """List all templates, venue by venue."""
    cls = slots.Template
    templates = list(db.session.scalars(select(cls).order_by(cls.id)))
    groups = [(venue, [t for t in templates if t.group == venue.slug]) for venue in load_venues()]
    return render_template("owner.html", groups=groups, health=slots.health())


# -- a new template ---------------------------------------------------------------------------------------------


@pages.get("/new")
def new() -> str:
    """Show the empty form."""
    return _form_page(forms.TemplateForm.blank(datetime.now(load_venues()[0].zone).date()))


@pages.post("/new")
def create() -> ResponseReturnValue:
    """Create a template; its first week is filled in the background after the commit."""
    form = forms.TemplateForm.read(request.form)
    fields = form.fields()
    if fields is None:
        return _form_page(form), 422
    try:
        template = slots.create_template(**fields)
        db.session.commit()
    except (InvalidRule, InvalidTemplate) as error:
        db.session.rollback()
        form.refuse(error)
        return _form_page(form), 422
    return redirect(url_for(".template", template_id=template.id))


def _form_page(form: forms.TemplateForm) -> str:
    places = [(venue.slug, venue.name) for venue in load_venues()]
    choices = {"places": places, "units": forms.UNITS, "ends": forms.ENDS, "weekdays": forms.WEEKDAYS}
    return render_template("owner_new.html", form=form, **choices)


# -- one template -------------------------------------------------------------------------------------------------


@pages.get("/templates/<int:template_id>")
def template(template_id: int) -> str:
    """Show a template: how far its first week is, and its next dates."""
    shown = _find(template_id)
    return render_template(
        "owner_template.html",
        template=shown,
        venue=find_venue(shown.group),
        progress=_progress(shown),
        ready=_count_ready(shown),
        coming=slots.upcoming(shown, _PREVIEW),
    )


@pages.get("/templates/<int:template_id>/progress")
def progress(template_id: int) -> dict[str, object]:
    """Return how far the first week of a template is, for the progress bar."""
    return asdict(_progress(_find(template_id)))


def _find(template_id: int) -> TemplateMixin:
    return db.session.get(slots.Template, template_id) or abort(404)


def _progress(template: TemplateMixin) -> Progress:
    """Return what the newest recorded top-up of this template alone says, or else how much of its week is stored."""
    runs = slots.runs(template=template, limit=_RUNS)
    run = next((run for run in runs if run.template_id == template.id), None)
    if run is not None and run.status != RunStatus.INTERRUPTED:
        return Progress(run.status, run.done, run.total)
    days = template.window_days or current_app.config.get("ROLLINGSLOTS_WINDOW_DAYS", 7)
    now = datetime.now(UTC) + timedelta(microseconds=1)  # what begins right now is no longer written
    week = Window.rolling(now, days, ZoneInfo(template.timezone))
    found = slots.between(now, week.end, template=template)
    stored = sum(not slot.is_virtual for slot in found)
    status = RunStatus.CONFIRMED.value if stored == len(found) else "waiting"
    return Progress(status, stored, len(found))


def _count_ready(template: TemplateMixin) -> int:
    cls = slots.Slot
    query = select(func.count()).where(
        cls.template_id == template.id, cls.starts_at > datetime.now(UTC), cls.status == "scheduled"
    )
    return db.session.scalar(query) or 0


# -- one slot -----------------------------------------------------------------------------------------------------


@pages.get("/slots/<key>")
def slot(key: str) -> str:
    """Show a slot with what the owner may do with it."""
    shown = slots.get(key)
    return render_template("owner_slot.html", slot=shown, venue=find_venue(shown.template.group), State=State)


@pages.post("/slots/<key>/cancel")
def cancel_slot(key: str) -> ResponseReturnValue:
    """Cancel one slot, with a reason for those who booked it."""
    try:
        slots.cancel(key, reason=request.form.get("reason", "").strip() or None)
        db.session.commit()
        flash("Cancelled. It stays visible as cancelled, and no top-up brings it back.")
    except InvalidRequest:
        db.session.rollback()
        flash("Write a reason of at most 500 letters.")
    except StatusConflict:
        db.session.rollback()
        flash("It is over, so it cannot be cancelled.")
    return redirect(url_for(".slot", key=key))


@pages.post("/slots/<key>/restore")
def restore_slot(key: str) -> ResponseReturnValue:
    """Bring a cancelled slot back."""
    try:
        slots.restore(key)
        db.session.commit()
        flash("Restored. It can be booked again.")
    except StatusConflict:
        db.session.rollback()
        flash("It is over, so it cannot be restored.")
    return redirect(url_for(".slot", key=key))
