"""Every error that the library raises on purpose.

One base class. The docstring of a class is its default message; details are attributes.
The errors know nothing of HTTP: they are raised on the command line and in threads too.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from difflib import get_close_matches
from typing import Any, TypeVar

Done = TypeVar("Done")
#: How often a door tries again, in a new transaction, what lost a race.
TRIES_OF_A_DOOR = 2
#: So much of a value is shown in an error.
_SHOWN = 80
#: What no text on one line has: control characters, ends of lines, what turns the direction, halves of pairs.
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
#: What a database quotes: a name, if one of these words is before it; else it may be a value.
_QUOTED = re.compile(r"""(?P<word>\w*)(?P<gap>\W*?)(?<!\w)(?P<quote>['"])(.*?(?P=quote)(?!\w)|.*$)""")
# fmt: off
_NAMING = frozenset(
    {
        "at", "column", "constraint", "database", "function", "host", "index", "key", "on", "relation", "role",
        "schema", "sequence", "table", "type", "user",
    }
)
# fmt: on
#: Of more known names than this, an error lists a few.
_MANY, _SOME = 24, 5


class RollingSlotsError(Exception):
    """Something went wrong in Flask-RollingSlots."""

    def __init__(self, message: str | None = None, **details: Any) -> None:
        """Store the details as attributes.

        :param message: one sentence for people; the first line of the class's docstring by default.
        :param details: facts about the failure, by name.
        """
        default = (type(self).__doc__ or type(self).__name__).splitlines()[0]
        super().__init__(message or default)
        self.details = details
        for name, value in details.items():
            setattr(self, name, value)


class ConfigError(RollingSlotsError, RuntimeError):
    """The extension is set up wrongly."""


class NotRegistered(ConfigError):
    """This app has no RollingSlots: call RollingSlots(app), or slots.init_app(app), first."""


class InvalidRule(RollingSlotsError, ValueError):
    """The recurrence rule is not valid.

    Attributes: ``part`` (the part of the rule or the JSON field), ``value``, ``expected``.
    """


class InvalidTemplate(RollingSlotsError, ValueError):
    """The template is not valid.

    Attributes: ``field``, ``value``, ``expected``.
    """


class InvalidRequest(RollingSlotsError, ValueError):
    """An argument is not valid.

    Attributes: ``field``, ``value``, ``expected``.
    """


class TooCostly(InvalidRequest):
    """This would work out too many slots in one request: ask for a shorter span, a group or a template.

    Attributes: ``limit`` (how many starts of slots may be looked at).
    """


class TemplateNotFound(RollingSlotsError, LookupError):
    """There is no such template."""


class SlotNotFound(RollingSlotsError, LookupError):
    """There is no slot at this key: its series does not exist, or its rule has no such start."""


class InvalidKey(InvalidRequest, SlotNotFound):
    """The slot key is not of the form <series id>@<YYYYMMDDTHHMM>."""


class BookingNotFound(RollingSlotsError, LookupError):
    """There is no such booking."""


class RunNotFound(RollingSlotsError, LookupError):
    """There is no such top-up."""


class SlotFull(RollingSlotsError):
    """The slot has not enough places left.

    Attributes: ``key``, ``left``, ``party``.
    """


class SlotClosed(RollingSlotsError):
    """The slot cannot be booked, or its places cannot be given back or moved any more.

    Attributes: ``key``, ``state`` (what the slot is; ``too_late``: it has not begun, but the time to cancel is over);
    of places that cannot be given back also ``until`` (aware, UTC): when that was over.
    """


class SlotBooked(RollingSlotsError):
    """The slot has bookings, so it cannot be changed like this.

    Attributes: ``key``, ``booked``.
    """


class StatusConflict(RollingSlotsError):
    """The slot's status does not allow this change.

    Attributes: ``key``, ``status``.
    """


class HoldExpired(RollingSlotsError):
    """The hold has expired, so it cannot be confirmed: book again.

    Attributes: ``booking_id``, ``expired_at``.
    """


class TooManyHolds(RollingSlotsError):
    """This person holds as many places for a while as one may: confirm or release one first.

    Attributes: ``held`` (how many live holds), ``limit``.
    """


class LimitReached(RollingSlotsError):
    """This person has as many places as one may have in the slot, on its day or in its week.

    Attributes: ``limit`` (the template's field), ``most``, ``taken`` (what this person has, and waits for), ``party``
    (how many were asked for), ``key``, ``next_at`` (aware, UTC: when the next day or week begins, in which there may be
    more; ``None``: a slot has no next one, or so many places are never given to one person).
    """


class IdempotencyConflict(RollingSlotsError):
    """The idempotency key was used for another booking before, or for one that was released or has expired."""


class StaleEdit(RollingSlotsError):
    """Somebody else changed this in the meantime: read it again, then repeat the change."""


class LostRace(RollingSlotsError):
    """Somebody else was faster, and this transaction cannot see what they did: roll it back, then try again.

    Nothing was written. The HTTP API and the commands try again by themselves.
    """


class TopUpBusy(RollingSlotsError):
    """Another top-up is under way and did not end in time: try again later."""


class UncommittedChanges(TopUpBusy):
    """The app's session holds uncommitted changes, or an open transaction of SQLite: commit first, then generate."""


class RowsRefused(RollingSlotsError):
    """The database refused rows that a top-up wanted to write."""


class UnreadableRow(RollingSlotsError):
    """A row holds text that is no JSON: correct it in the database.

    Attributes: ``table``, ``row`` (its id), ``column``.
    """


class QueueUnavailable(RollingSlotsError):
    """The queue took no message, or no worker came: look at the broker and at the workers."""


class LeaseLost(RollingSlotsError):
    """The lease of this top-up was taken over, so it stopped without writing."""


class Interrupted(RollingSlotsError):
    """The top-up was told to stop: what is written stays, the next one does the rest."""


def again_if_lost(act: Callable[[], Done], tries: int = 1) -> Done:
    """Do something; again, so many times, if another transaction was in the way.

    :raises LostRace: if one was in the way each time.
    """
    for _ in range(tries):
        with suppress(LostRace):
            return act()
    return act()


def refusal(
    field: str, value: Any, expected: str, kind: type[RollingSlotsError] = InvalidRequest, **more: Any
) -> RollingSlotsError:
    """Return (not raise) the error for an argument: one sentence that names field, value (short) and expectation."""
    shown = str(value) if isinstance(value, date | time | timedelta) else repr(value)
    shown = shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}..."
    return kind(
        f"{field} = {shown}: expected {expected}", field=field, value=value, expected=expected, **more
    )


def limit_refusal(field: str, value: Any, limit: int, of: str, setting: str) -> RollingSlotsError:
    """Return (not raise) the error for a template that would cost more than the app's settings allow.

    :param limit: the most that is allowed, of something in words.
    :param setting: the field of the settings that says so.
    """
    key = f"ROLLINGSLOTS_{setting.upper()}"
    expected = f"at most {limit:,} {of} ({key})"
    return refusal(field, value, expected, InvalidTemplate, limit=limit, key=key)


def overlap_refusal(
    field: str, value: Any, pairs: Sequence[tuple[datetime, datetime]], kind: type[RollingSlotsError]
) -> RollingSlotsError:
    """Return (not raise) the error for a rule that lets slots overlap, though its template does not say they may.

    :param pairs: wall-clock starts of slots that overlap; not empty.
    """
    told = [[start.isoformat(" ", "minutes") for start in pair] for pair in pairs]
    expected = (
        "overlapping=True, or exclusive=True or a pool with a resource, because slots of the rule overlap, such as "
        f"{' and '.join(told[0])}"
    )
    return refusal(field, value, expected, kind, overlaps=told)


def no_template(template_id: object) -> TemplateNotFound:
    """Return (not raise) the error for a template that is not there, or that one may not know of."""
    return TemplateNotFound(f"template {template_id}: there is no such template")


def no_group(group: str) -> TemplateNotFound:
    """Return (not raise) the error for a group without templates: an unknown one means nothing, never everything."""
    return TemplateNotFound(f"group {group!r}: there is no template in this group")


def no_slot(key: object) -> SlotNotFound:
    """Return (not raise) the error for a key at which there is no slot."""
    return SlotNotFound(f"slot {key}: there is no such slot", key=str(key))


def no_booking(booking_id: object) -> BookingNotFound:
    """Return (not raise) the error for a booking that is not there, or that one may not know of."""
    return BookingNotFound(f"booking {str(booking_id)[:_SHOWN]}: there is no such booking")


def no_run(run_id: object) -> RunNotFound:
    """Return (not raise) the error for a top-up that is not there, or that one may not know of."""
    return RunNotFound(f"run {run_id}: there is no such top-up")


def nearest(name: str, known: Iterable[str], prefix: str = "", many: int = _MANY) -> str:
    """Return a hint that names the nearest known name, ``" Did you mean X?"``.

    When none is near: all of them, or of more than so many those that are least far.
    """
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f" Did you mean {prefix}{close[0]}?"
    if len(names) > many:
        some = get_close_matches(name, names, n=_SOME, cutoff=0)
        return f" The nearest of {len(names)} known: {', '.join(prefix + each for each in some)}."
    return f" Known: {', '.join(prefix + each for each in names)}."


def escaped(text: str) -> str:
    """Return a text on one line, without what a terminal would obey: escapes take its place."""
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def escaped_json(text: str) -> str:
    """Return JSON, perhaps on several lines, with escapes where a text in it holds what a terminal would obey."""
    return CONTROLS.sub(lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text)


def is_of_database(error: BaseException) -> bool:
    """Whether the database, or its driver, said it: the text may then hold a statement and its values."""
    return hasattr(error, "orig")


def sentence(error: BaseException) -> str:
    """Return what went wrong in one line, without the statement and its values: they hold the app's data."""
    cause = getattr(error, "orig", None) or error
    text = str(cause.args[-1] if isinstance(cause.args, tuple) and cause.args else cause)
    first_line = text.strip().splitlines()[0] if text.strip() else ""
    if is_of_database(error):
        first_line = _QUOTED.sub(_without_value, first_line[:1000])
    return escaped(f"{type(cause).__name__}: {first_line}"[:500])


def _without_value(found: re.Match[str]) -> str:
    is_name = found["word"].lower() in _NAMING and found["gap"].isspace()
    return found[0] if is_name else f"{found['word']}{found['gap']}…"


def trail(error: BaseException, is_private: bool = False) -> str:
    """Return the traceback of an error and of what caused it; of each text only its :func:`sentence`.

    :param is_private: of each text nothing, only what kind of error it is.
    """
    causes = _causes(error)
    inner = [getattr(each, "orig", None) for each in causes]  # told already by what wraps it
    return "\ncaused by\n".join(
        "".join(traceback.format_tb(each.__traceback__))
        + (type(each).__name__ if is_private else sentence(each))
        for each in causes
        if not any(each is other for other in inner)
    )


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return found


class Discreet(logging.Filter):
    """Keeps out of the library's log what others wrote to forge it, and the values of statements that failed.

    What an error of the app's own code says may be about a person: a record that ``is_private`` leaves that out too.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let a record through, with texts on one line, and errors of the database as sentences."""
        if isinstance(record.args, tuple):
            record.args = tuple(map(_told, record.args))
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        is_private = bool(getattr(record, "is_private", False))
        if error is not None and (is_private or any(map(is_of_database, _causes(error)))):
            record.exc_info, record.exc_text = None, trail(error, is_private)
        return True


def _told(value: object) -> object:
    if isinstance(value, BaseException):
        return sentence(value) if is_of_database(value) else escaped(str(value))
    return escaped(value) if isinstance(value, str) else value
