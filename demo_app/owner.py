"""What the owner sees: all templates, the form of a template with its next dates, its first week being filled."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from flask import Blueprint, abort, current_app, flash, redirect, render_template, request, url_for
from sqlalchemy import func, select

from flask_rollingslots.errors import (
    ConfigError,
    InvalidRequest,
    InvalidRule,
    InvalidTemplate,
    StaleEdit,
)
from flask_rollingslots.values import RunStatus, Window

from . import changing, forms, words
from .models import db, segments_of, slots
from .venues import find_venue, load_venues

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from flask_rollingslots import SlotMixin, TemplateMixin

pages = Blueprint("owner", __name__, url_prefix="/owner")

_PREVIEW = 5
_MOST_SHOWN = 200
_RUNS = 20
#: ``ConfigError``: public holidays are asked for, and their package is not installed.
_REFUSALS = (InvalidRule, InvalidTemplate, InvalidRequest, ConfigError)


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
    """List all templates, venue by venue; the parts of a split series one after the other."""
    cls = slots.Template
    templates = list(db.session.scalars(select(cls).order_by(cls.series_id, cls.id)))
    groups = [(venue, [t for t in templates if t.group == venue.slug]) for venue in load_venues()]
    return render_template("owner.html", groups=groups, health=slots.health())


# -- a new template ---------------------------------------------------------------------------------------------


@pages.get("/new")
def new() -> str:
    """Show the empty form."""
    venue = find_venue(request.args.get("venue")) or load_venues()[0]
    return _form_page(forms.TemplateForm.blank(datetime.now(venue.zone).date(), venue.slug))


@pages.post("/new")
def create() -> ResponseReturnValue:
    """Create a template, or only show its next dates; its first week is filled in the background after the commit."""
    form = forms.TemplateForm.read(request.form)
    if "preview" in request.form:
        return _form_page(form)
    fields = form.fields()
    if fields is None:
        return _form_page(form), 422
    try:
        template = slots.create_template(**fields)
        db.session.commit()
    except _REFUSALS as error:
        db.session.rollback()
        form.refuse(error)
        return _form_page(form), 422
    return redirect(url_for(".template", template_id=template.id), 303)


@pages.post("/preview")
def preview() -> str:
    """Return the next dates of the template that a form describes so far: a part of a page, for the script."""
    number = request.form.get("template_id", "")
    template = _find(int(number)) if number.isascii() and number.isdigit() and len(number) < 19 else None
    form = forms.TemplateForm.read(request.form, template)
    probe, dates = _preview(form)
    return render_template("preview.html", probe=probe, dates=dates)


def _preview(form: forms.TemplateForm) -> tuple[forms.TemplateForm, list[SlotMixin]]:
    """Return the next dates of what a form describes, and a copy of it with what is wrong so far.

    Dates need no name, and the form itself stays free of errors until it is sent.
    """
    probe = replace(form, values=form.values | {"name": form.values["name"] or "New"}, errors={})
    fields = probe.fields() if probe.template is None else _changed_fields(probe, probe.template)
    if fields is None:
        return probe, []
    try:
        return probe, slots.preview_template(_PREVIEW, **fields)
    except _REFUSALS as error:
        probe.refuse(error)
    return probe, []


def _form_page(form: forms.TemplateForm) -> str:
    probe, dates = _preview(form)
    return render_template(
        "owner_form.html",
        form=form,
        probe=probe,
        dates=dates,
        places=[(venue.slug, venue.name) for venue in load_venues()],
        units=forms.UNITS.items(),
        ends=forms.ENDS.items(),
        weekdays=forms.WEEKDAYS,
        keep=forms.KEEP,
    )


# -- one template -------------------------------------------------------------------------------------------------


@pages.get("/templates/<int:template_id>")
def template(template_id: int) -> str:
    """Show a template: how far its first week is, and its next dates, five more at a time."""
    shown = _find(template_id)
    number = max(_PREVIEW, min(_MOST_SHOWN, request.args.get("show", _PREVIEW, type=int)))
    fault = words.rule_fault(shown)
    return render_template(
        "owner_template.html",
        template=shown,
        segments=segments_of(shown),
        venue=find_venue(shown.group),
        progress=_progress(shown),
        ready=_count_ready(shown),
        fault=fault,
        coming=[] if fault else slots.upcoming(shown, number),
        number=number,
        step=_PREVIEW,
        most=_MOST_SHOWN,
    )


@pages.get("/templates/<int:template_id>/progress")
def progress(template_id: int) -> dict[str, object]:
    """Return how far the first week of a template is, for the progress bar."""
    return asdict(_progress(_find(template_id)))


def _find(template_id: int) -> TemplateMixin:
    return db.session.get(slots.Template, template_id) or abort(404)


@pages.errorhandler(InvalidRule)
def _show_fault(error: InvalidRule) -> ResponseReturnValue:
    """Lead to the page that says what is wrong with a stored rule, from those that cannot do without it."""
    number = (request.view_args or {}).get("template_id")
    if number is None or request.endpoint == f"{pages.name}.template":
        raise error
    return redirect(url_for(".template", template_id=number), 303)


def _progress(template: TemplateMixin) -> Progress:
    """Return what the newest recorded top-up of this template alone says, or else how much of its week is stored."""
    runs = slots.runs(template=template, limit=_RUNS)
    run = next((run for run in runs if run.template_id == template.id), None)
    if run is not None and run.status not in (RunStatus.WAITING, RunStatus.INTERRUPTED):
        return Progress(run.status, run.done, run.total)
    days = template.window_days or current_app.config.get("ROLLINGSLOTS_WINDOW_DAYS", 7)
    now = datetime.now(UTC) + timedelta(microseconds=1)  # what begins right now is no longer written
    week = Window.rolling(now, days, ZoneInfo(template.timezone))
    found = slots.view(now, week.end, template=template)
    stored = sum(not slot.is_virtual for slot in found)
    status = RunStatus.CONFIRMED.value if stored == len(found) else RunStatus.WAITING.value
    return Progress(status, stored, len(found))


def _count_ready(template: TemplateMixin) -> int:
    cls = slots.Slot
    query = select(func.count()).where(
        cls.template_id == template.id, cls.starts_at > datetime.now(UTC), cls.status == "scheduled"
    )
    return db.session.scalar(query) or 0


# -- changing a template -----------------------------------------------------------------------------------------


@pages.get("/templates/<int:template_id>/edit")
def edit(template_id: int) -> str:
    """Show the form as the template fills it in."""
    return _form_page(forms.TemplateForm.of(_find(template_id)))


@pages.post("/templates/<int:template_id>/edit")
def change(template_id: int) -> ResponseReturnValue:
    """Show the next dates, or what a change would do, or do it."""
    shown = _find(template_id)
    form = forms.TemplateForm.read(request.form, shown)
    if "preview" in request.form:
        return _form_page(form)
    changes = form.changes(shown)
    if changes is None:
        return _form_page(form), 422
    first = _first_date(shown)
    if first is None or not changes:
        gone = "No date lies ahead." if shown.active else "The template is switched off: switch it on first."
        form.errors["form"] = gone if first is None else "Nothing was changed yet."
        return _form_page(form), 422
    said = _say_changes(form, shown, changes)
    if "start" in changes:
        changes["start"] = _moved_start(shown, first, changes["start"])
    question = changing.Question(first, changes, changing.WIDE, said=said)
    if "scope" in request.form:
        return _apply(question)
    return changing.page(question)


def _first_date(template: TemplateMixin) -> SlotMixin | None:
    """Return the next date of a template: of this very part, if its series was split."""
    spec, after = template.spec(), None
    if spec.active_from is not None:
        begin = (spec.active_from + spec.shift).replace(tzinfo=ZoneInfo(template.timezone))
        after = max(begin - timedelta(minutes=1), datetime.now(UTC))
    found = next(iter(slots.upcoming(template, 1, after=after)), None)
    return found if found is not None and found.template_id == template.id else None


def _moved_start(template: TemplateMixin, first: SlotMixin, start: time) -> datetime:
    """Return where a date goes when its template gets another start time: on a day with many, all go as far."""
    shown = template.dtstart + template.shift
    way = datetime.combine(shown.date(), start) - shown
    return first.original_start + template.shift + way


def _say_changes(
    form: forms.TemplateForm, template: TemplateMixin, changes: dict[str, Any]
) -> dict[str, str]:
    """Return in words what the form changes of the template, where its next date alone would mislead."""
    said = {}
    if "start" in changes:
        rest = ", and the rest of the day with it" if template.every else ""
        said["start"] = (
            f"Start: {changes['start']:%H:%M} instead of {template.dtstart + template.shift:%H:%M}{rest}"
        )
    _, dates = _preview(form)
    if "rrule" in changes and dates:
        said["rrule"] = f"Rule: {words.rule_words(dates[0].template)}"
    return said


def _apply(question: changing.Question) -> ResponseReturnValue:
    try:
        key = changing.apply(question)
    except StaleEdit:
        return changing.page(question, stale=True), 409
    return redirect(url_for("calendar.slot", key=key), 303)


def _changed_fields(form: forms.TemplateForm, template: TemplateMixin) -> dict[str, Any] | None:
    """Return the fields that a template would have after a change of all its dates."""
    changes = form.changes(template)
    if changes is None:
        return None
    spec = template.spec()
    names = (
        "name",
        "group",
        "rrule",
        "timezone",
        "duration",
        "every",
        "capacity",
        "holidays",
        "opens_days_before",
    )
    fields = {name: getattr(spec, name) for name in names} | {"closes_before": spec.closes_before}
    for name in ("rdates", "exdates", "blackouts"):
        fields[name] = list(getattr(spec, name))
    start = spec.dtstart + spec.shift
    at = changes.pop("start", start.time())
    fields["dtstart"] = datetime.combine(start.date(), at)
    if spec.until_time is not None:
        moved = fields["dtstart"] - spec.dtstart
        fields["until_time"] = (datetime.combine(start.date(), spec.until_time) + moved).time()
    return {**fields, **{name: value for name, value in changes.items() if name != "data"}}


@pages.post("/templates/<int:template_id>/switch")
def switch(template_id: int) -> ResponseReturnValue:
    """Switch a series off, or on again: nothing is shown or bookable meanwhile, and nothing is lost."""
    shown = _find(template_id)
    report = (slots.deactivate if shown.active else slots.activate)(template=shown)
    db.session.commit()
    off = f"Switched off: visitors see nothing of it. Bookings are kept.{changing.to_call(report.bookings)}"
    flash("Switched on." if shown.active else off)
    return redirect(url_for(".template", template_id=template_id), 303)


# -- when a template rests, opens and closes ---------------------------------------------------------------------


@pages.get("/templates/<int:template_id>/limits")
def limits(template_id: int) -> str:
    """Show holidays, days off, opening and notice of a series."""
    return _limits_page(forms.TemplateForm.of(_find(template_id)))


@pages.post("/templates/<int:template_id>/limits")
def set_limits(template_id: int) -> ResponseReturnValue:
    """Store them for all parts of the series; free dates fall away, and booked ones stay for those who have them."""
    shown = _find(template_id)
    form = forms.TemplateForm.of(shown)
    names = ("holidays", "blackouts", "opens", "closes")
    form.values |= {name: request.form.get(name, "").strip() for name in names}
    given = form.limits()
    if form.errors:
        return _limits_page(form), 422
    try:
        plan = slots.change_template(shown, **given).plan
        db.session.commit()
    except _REFUSALS as error:
        db.session.rollback()
        form.refuse(error)
        return _limits_page(form), 422
    told = changing.to_call(plan.bookings if plan is not None else ())
    flash(f"Saved. Free dates that fall away go by themselves; booked ones stay.{told}")
    return redirect(url_for(".template", template_id=template_id), 303)


def _limits_page(form: forms.TemplateForm) -> str:
    return render_template("owner_limits.html", form=form, template=form.template)
