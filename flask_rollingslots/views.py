"""Slots and templates as frozen values that belong to no session: for pages, feeds, lists and events.

A value says what its row says, under the same names and by the same rules (:class:`SlotFacts`), without what makes a
row dear: no identity map, no tracking of changes; and what nobody asks for stays as the driver gave it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import FrozenInstanceError, dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

from sqlalchemy import Dialect, inspect, type_coerce
from sqlalchemy.types import NullType

from .lazy import lazy
from .models import FIELDS, Models, SlotFacts, SlotMixin, TemplateFacts, TemplateMixin, UtcDateTime, plain
from .models.fields import SPEC_LISTS
from .statements import stored_text
from .values import State, Status, TemplateSpec, Times

if TYPE_CHECKING:
    from . import planning
    from .recurrence import Recurrence
else:
    (planning,) = lazy(".planning")

#: What a page may ask of a slot, and seldom does: times, and texts of JSON.
_LATE_TIMES = ("opens_at", "closes_at", "hold_until", "created_at", "changed_at")
_LATE_TEXTS = ("holds", "queue", "customised", "data")
_AT_ONCE = (
    "id", "series_id", "template_id", "original_start", "starts_at", "ends_at", "status", "capacity", "booked",
    "waits_for", "withdrawn", "displaced", "ended_with_series", "run_id", "cancel_reason", "own_name",
)  # fmt: skip
_OF_ROW = (*_AT_ONCE, *_LATE_TIMES, "holds", "queue", "customised")
_TEMPLATE_TEXTS = (*SPEC_LISTS, "data")
#: What all virtual slots have in common.
_VIRTUAL: dict[str, Any] = {
    **dict.fromkeys(
        ("id", "waits_for", "withdrawn", "displaced", "ended_with_series", "run_id", "cancel_reason")
    ),
    **dict.fromkeys(("own_name", "hold_until", "changed_at", "holds", "queue")),
    "status": Status.SCHEDULED,
    "booked": 0,
    "customised": (),
}
_STATUSES = {status.value: status for status in Status}


class _Late:
    """An attribute that is worked out when somebody asks for it first, and kept.

    It has no setter, so that what stands in the object's ``__dict__`` goes before it.
    """

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self._work = work
        self.__doc__ = work.__doc__

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self._name = name

    def __get__(self, value: Any, owner: type[Any] | None = None) -> Any:
        if value is None:
            return self
        found = value.__dict__[self._name] = self._work(value)
        return found


if TYPE_CHECKING:
    late = property
else:
    late = _Late


def _text(name: str, empty: Any) -> Any:
    """Return an attribute that is understood out of the stored text of JSON."""
    raw = f"_{name}"

    def read(value: Any) -> Any:
        stored = value.__dict__[raw]
        return empty if not stored or stored == "[]" else frozen(json.loads(stored)) or empty

    return _Late(read)


def _time(name: str) -> Any:
    """Return an attribute that is read out of what the driver gave."""
    raw = f"_{name}"

    def read(value: Any) -> Any:
        found = value.__dict__
        return found["_shape"].moment(found[raw])

    return _Late(read)


def frozen(value: Any) -> Any:
    """Return plain data as what nobody changes."""
    if isinstance(value, Mapping):
        return MappingProxyType({key: frozen(each) for key, each in value.items()})
    if isinstance(value, list | tuple):
        return tuple(map(frozen, value))
    return value


def _apart(value: Any) -> Any:
    """Return a value of the app's own column that no row holds too."""
    return deepcopy(plain(value)) if isinstance(value, dict | list) else value


def thawed(value: Any) -> Any:
    """Return what nobody changes as plain data for JSON; moments as ISO 8601."""
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {key: thawed(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [thawed(each) for each in value]
    if isinstance(value, StrEnum):
        return value.value
    return value.isoformat() if isinstance(value, date) else value


class _Frozen:
    """A value whose attributes nobody sets."""

    if TYPE_CHECKING:
        id: Any

        def to_dict(self) -> dict[str, Any]: ...

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.to_dict() == self.to_dict()

    def __hash__(self) -> int:
        return hash((type(self), self.id))


# -- templates


class TemplateView(_Frozen, TemplateFacts):
    """A template as it was at a moment: plain values under the names of its fields, which belong to no session.

    Lists are tuples, ``data`` cannot be changed; the app's own columns are there by their names.
    """

    if TYPE_CHECKING:
        series_id: int
        name: str
        group: str | None
        timezone: str
        revision: int

        def __getattr__(self, name: str) -> Any: ...

    else:

        def __getattr__(self, name):
            """Understand a list that was read as a text."""
            stored = self.__dict__.get(f"_{name}", self)
            if stored is self:
                raise AttributeError(
                    f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self
                )
            kind, listed = FIELDS[name].kind.column, ()
            if stored and stored not in ("[]", "null"):
                listed = tuple(kind.process_result_value(json.loads(stored), None))
            self.__dict__[name] = listed
            return listed

    @classmethod
    def of(cls, template: TemplateMixin) -> TemplateView:
        """Return a template as it is."""
        models = template.rolling_models
        own = models.own.template if models is not None else ()
        values = {name: getattr(template, name) for name in FIELDS}
        values |= {name: _apart(getattr(template, name)) for name in own}
        values["rolling_data"] = frozen(values.pop("data") or {})
        values |= {name: tuple(values[name] or ()) for name in SPEC_LISTS}
        return cls(**values, rolling_models=models)

    @late
    def rolling_data(self) -> Mapping[str, Any]:
        """``data`` as JSON has it, to be read only."""
        stored = self.__dict__["_data"]
        return (json.loads(stored) if stored else None) or {}

    @late
    def data(self) -> Mapping[str, Any]:
        """The app's own fields, to be read only."""
        return frozen(self.rolling_data)  # type: ignore[no-any-return]

    if not TYPE_CHECKING:  # what is true of a row too, worked out once, for nothing of a value changes
        claim, may_overlap, rolling_times = (
            late(vars(TemplateFacts)[name].fget) for name in ("claim", "may_overlap", "rolling_times")
        )

    def spec(self) -> TemplateSpec:
        """Return the template as plain data."""
        return replace(self.rolling_times, data=thawed(self.rolling_data), own=deepcopy(self.rolling_own))

    @property
    def recurrence(self) -> Recurrence:
        """The template's rule."""
        return planning.recurrence_of(self.rolling_times)

    @late
    def rolling_shared(self) -> dict[str, Any]:
        """What each of its virtual slots has besides its times."""
        own = self.rolling_models.own
        mine = {name: getattr(self, name) if name in own.shared else None for name in own.slot}
        same = {
            "series_id": self.series_id,
            "template_id": self.id,
            "capacity": self.capacity,
            "template": self,
        }
        return {**_VIRTUAL, **same, **mine}

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, by the names that the fields have over HTTP."""
        values = ((field, getattr(self, name)) for name, field in FIELDS.items())
        plain = {field.key: None if value is None else field.kind.write(value) for field, value in values}
        return {**plain, "data": thawed(self.data), **self.rolling_shown}

    def __repr__(self) -> str:
        return f"<TemplateView {self.id} {self.name!r}>"


# -- slots


class SlotView(_Frozen, SlotFacts):
    """A slot as it was at a moment: plain values, which belong to no session.

    It has the attributes of a slot, the app's own columns too; ``template`` is a :class:`TemplateView`, whose
    ``group`` and ``timezone`` it has itself. ``id`` is ``None`` without a row. ``state``, ``is_bookable`` and ``left``
    hold at the moment ``at`` (aware).
    """

    if TYPE_CHECKING:
        at: datetime
        template: TemplateView
        own_name: str | None
        cancel_reason: str | None
        run_id: int | None

        def __getattr__(self, name: str) -> Any: ...

    opens_at, closes_at, hold_until, created_at, changed_at = map(_time, _LATE_TIMES)
    holds, queue, customised = _text("holds", None), _text("queue", None), _text("customised", ())

    @classmethod
    def of(cls, slot: SlotMixin, now: datetime) -> SlotView:
        """Return a slot as it is at a moment (aware)."""
        models = slot.rolling_models
        values = {name: frozen(getattr(slot, name)) for name in _OF_ROW}
        values |= {name: _apart(getattr(slot, name)) for name in models.own.slot}
        values |= slot.by_now(now)
        data = frozen(values.pop("data", slot.rolling_data))
        state, is_bookable = slot.seen_at(now)
        values |= {"status": Status(slot.status), "customised": values["customised"] or ()}
        values |= {"state": state, "is_bookable": is_bookable, "left": slot.left_at(now), "at": now}
        return cls(**values, template=TemplateView.of(slot.template), rolling_data=data)

    @property
    def rolling_models(self) -> Models:
        """The classes of its database."""
        return self.template.rolling_models  # type: ignore[no-any-return]

    def follow(self, now: datetime) -> None:
        """Show what its template says by now, where no top-up has followed yet; for who makes the value alone."""
        values = self.by_now(now)
        if "data" in values:
            values["rolling_data"] = values.pop("data")
        self.__dict__.update(values)

    @late
    def rolling_data(self) -> Mapping[str, Any]:
        """``data`` as JSON has it, to be read only."""
        if self.id is None:
            return self.template.rolling_data
        stored, of_template = self.__dict__["_data"], self.template.__dict__
        # Most slots have what the one before has: the last text of a template is understood once.
        last = of_template.get("_understood")
        if last is None or last[0] != stored:
            last = of_template["_understood"] = stored, (json.loads(stored) if stored else None) or {}
        return last[1]

    @late
    def data(self) -> Mapping[str, Any]:
        """The app's own fields, to be read only."""
        return self.template.data if self.id is None else frozen(self.rolling_data)

    @late
    def name(self) -> str:
        """What it is called: its template's name, unless a person renamed it, or it is history."""
        return self.template.name if self.own_name is None else self.own_name

    @property
    def group(self) -> str | None:
        """The group of its template."""
        return self.template.group

    @property
    def timezone(self) -> str:
        """The zone of its template."""
        return self.template.timezone

    @late
    def _looked(self) -> tuple[State, bool]:
        return self.seen_at(self.at)

    @late
    def state(self) -> State:
        """What the slot was at the moment ``at``."""
        return self._looked[0]

    @late
    def is_bookable(self) -> bool:
        """Whether an ordinary booking of one place would have been taken at the moment ``at``."""
        return self._looked[1]

    @late
    def left(self) -> int:
        """Places that were free at the moment ``at``."""
        return self.left_at(self.at)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; moments as ISO 8601."""
        return {name: thawed(getattr(self, name)) for name in SHOWN_OF_SLOT}

    def __hash__(self) -> int:
        return hash((self.series_id, self.original_start))

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other)

    def __repr__(self) -> str:
        return f"<SlotView {self.key}{' virtual' if self.is_virtual else ''}>"


#: What a slot's view has as plain data.
SHOWN_OF_SLOT = (
    "key", "id", "series_id", "template_id", "name", "group", "timezone", "original_start", "starts_at", "ends_at",
    "opens_at", "closes_at", "cancel_until", "status", "state", "is_bookable", "is_all_day", "capacity", "left",
    "cancel_reason", "data",
)  # fmt: skip


# -- how rows become values


@dataclass(frozen=True, slots=True)
class Shape:
    """How rows of a table are read as values, on one kind of database.

    :param columns: what is selected. ``names``: where each goes; with ``_`` in front: as the driver gives it.
    :param source: the columns of the table by attribute, for conditions.
    :param moment: understands a time that was read as the driver gives it.
    """

    columns: Sequence[Any]
    names: Sequence[str]
    source: Any
    moment: Callable[[Any], datetime | None]
    models: Models

    def slots(
        self, rows: Sequence[Any], templates: Mapping[int, TemplateView], now: datetime
    ) -> list[SlotView]:
        """Return the slots in some rows; those of other templates are left out."""
        found, names, place = [], self.names, self.names.index("template_id")
        for row in rows:
            template = templates.get(row[place])
            if template is None:
                continue
            view: SlotView = SlotView.__new__(SlotView)
            values = view.__dict__
            values.update(zip(names, row, strict=True))
            values["status"] = _STATUSES[values["status"]]
            values["template"], values["at"], values["_shape"] = template, now, self
            found.append(view)
        return found

    def templates(self, rows: Sequence[Any]) -> list[TemplateView]:
        """Return the templates in some rows."""
        return [
            TemplateView(**dict(zip(self.names, row, strict=True)), rolling_models=self.models)
            for row in rows
        ]


def virtual(template: TemplateView, times: Times, now: datetime) -> SlotView:
    """Return a slot without a row."""
    view: SlotView = SlotView.__new__(SlotView)
    values = view.__dict__
    values.update(template.rolling_shared)
    for name in template.rolling_models.own.shared:
        values[name] = _apart(values[name])
    (
        values["original_start"],
        values["starts_at"],
        values["ends_at"],
        values["opens_at"],
        values["closes_at"],
    ) = times
    values["at"] = values["created_at"] = now
    return view


def shape_of_slots(models: Models, dialect: Dialect) -> Shape:
    """Return how slots are read."""
    source = _columns_of(models.Slot)
    columns = {name: getattr(source, name) for name in (*_AT_ONCE, *models.own.slot)}
    for name in _LATE_TIMES:
        columns[f"_{name}"] = type_coerce(getattr(source, name), NullType())
    for name in _LATE_TEXTS:
        columns[f"_{name}"] = stored_text(getattr(source, name), dialect.name)
    return Shape(tuple(columns.values()), tuple(columns), source, _reader_of_times(dialect), models)


def shape_of_templates(models: Models, dialect: Dialect) -> Shape:
    """Return how templates are read: by the ORM, so that what an app asks of all templates holds for values too."""
    source = models.Template
    columns: dict[str, Any] = {}
    for name in (*FIELDS, *models.own.template):
        column = getattr(source, name)
        if name in _TEMPLATE_TEXTS:
            columns[f"_{name}"] = stored_text(column, dialect.name)
        else:
            columns[name] = column
    return Shape(tuple(columns.values()), tuple(columns), source, _reader_of_times(dialect), models)


def _columns_of(cls: type[Any]) -> Any:
    """Return the columns of a class by attribute, free of the ORM: a row of them is a bare tuple."""
    return SimpleNamespace(**{each.key: each.columns[0] for each in inspect(cls).column_attrs})


def _reader_of_times(dialect: Dialect) -> Callable[[Any], datetime | None]:
    kind = UtcDateTime().dialect_impl(dialect)
    return kind.result_processor(dialect, None) or (lambda value: value)
