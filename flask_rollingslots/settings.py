"""Every ``ROLLINGSLOTS_…`` setting: its default, its check and its error text, and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any
from zoneinfo import ZoneInfo

from .errors import ConfigError, nearest, refusal

PREFIX = "ROLLINGSLOTS_"
#: The prefix, and what people type instead: a setting that is silently ignored would be worse than an error.
_OURS = re.compile("ROLLING_?SLOTS?_")
MAX_DAYS = 3660
MAX_RETENTION_DAYS = 36_600
#: The longest span of events in one answer.
MAX_EVENT_DAYS = 92
#: So many bytes of ``data``, as JSON, one answer may hold.
MAX_ANSWER_DATA = 1_000_000
#: So many starts of slots one read over HTTP looks at, or fewer where the setting says so.
MAX_READ_STEPS = 25_000
#: So many starts of slots are compared for an answer about health over HTTP.
MAX_HEALTH_STARTS = 4_000
#: Where the HTTP API serves the calendar of a secret address.
FEED_PATH = "/feed/<secret>.ics"
#: The largest file that is imported.
MAX_FILE_BYTES = 10 * 1024 * 1024
#: A token must be long enough that nobody guesses it, and fit into a header.
MIN_TOKEN = 32
_TOKEN = re.compile(r"[\x21-\x7e]+")
_PLACEHOLDER = re.compile(r"change.?me|placeholder|your.?(secret|token)|[<>{}$]", re.IGNORECASE)
_HOST = re.compile(r"[a-z0-9-]+([.][a-z0-9-]+)*(:[0-9]{1,5})?")
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")
#: Settings that had another name before.
_MOVED = {
    "API_PUBLIC_READS": f"it is {PREFIX}PUBLIC_READS now, and False by default: without it, reading over HTTP needs "
    f"a token or an authorize callback; {PREFIX}PUBLIC_DATA names what of data is shown"
}
EXECUTORS = ("auto", "thread", "inline", "after_response", "celery")


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one app.

    :param window_days: how many local calendar days are kept filled, today included; 1 to 3,660.
    :param check_interval: seconds between two looks at the database per process; 1 to 86,400.
    :param timezone: IANA zone of templates that name none.
    :param executor: ``auto``, ``thread``, ``inline``, ``after_response``, ``celery``, or ``module:attribute``.
    :param lease_seconds: how long a top-up may be silent before another takes over; 1 to 3,600.
    :param align: ``day``, or ``week``: the window ends with the Sunday of its last day.
    :param retention_days: unbooked slots are deleted so many days after their end; 1 to 36,600; ``None``: never.
    :param preview_max: the most slots that ``upcoming`` gives at once; 1 to 10,000.
    :param hold_minutes_max: the longest hold of a person, in minutes; 1 to 10,080.
    :param holds_per_person: how many holds a person may have at once; 1 to 10,000.
    :param offer_minutes: how long places are kept for whoever waited for them, in minutes; 1 to 10,080.
    :param public_reads: whether anybody may read templates, slots and runs over HTTP, where no ``authorize`` callback
        decides.
    :param public_data: the keys of ``data``, and the app's own columns, that every reader sees over HTTP; all others
        are for tokens, and for whom ``authorize`` lets edit.
    :param slots_per_day_max: the most slots that a template may have on one day; 1 to 1,440.
    :param slots_per_window_max: the most slots that a template may have in its window; 1 to 10,000,000.
    :param data_bytes_max: the most bytes that ``data`` of a template or a slot may have as JSON; 2 to 1,000,000.
    :param blackouts_max: the most ranges of days that ``blackouts`` may hold; 1 to 10,000.
    :param dates_max: the most single dates that ``rdates`` and ``exdates`` may hold together; 1 to 10,000.
    :param expansion_steps_max: the most starts of slots that one read may look at; 10,000 to 100,000,000.
    :param events_max: the most events of one answer of ``feed.json`` and ``feed.ics``; 100 to 1,000,000. Of a calendar
        at most half of them are slots that are not as their rule says, the next ones first.
    :param enabled: ``False`` stops automatic top-ups; ``generate`` and reading go on.
    :param queue_fallback: with a queue that takes nothing, or whose workers do not come: ``thread`` fills in the web
        process, ``none`` waits for the queue.
    :param shard_size: templates of a week's window that one worker fills at a time; of longer ones fewer; 1 to 10,000.
    :param shards_at_once: how many workers may fill at the same time; 1 to 1,000.
    :param name: name of the lease, for several independent sets of workers on one database.
    :param api_prefix: where the HTTP API is mounted, such as ``/api``; ``None``: only if the app registers it.
    :param api_token: bearer token that may do everything: at least 32 characters; a list while tokens are changed.
    :param api_read_token: the same for tokens that may read everything and write nothing.
    :param api_wrong_tokens: from so many wrong tokens a minute on, an address is told to slow down; 1 to 10,000.
    :param api_requests_per_minute: how much each token may ask for, in each process; 1 to 1,000,000.
    :param feed_host: the host in the secret addresses of calendars, and what follows the ``@`` in their UIDs, such as
        ``slots.example.com``, perhaps with a port; ``None``: ``SERVER_NAME``; else, of addresses, a host that
        ``TRUSTED_HOSTS`` allows; of UIDs, the host that was asked.
    """

    window_days: int = 7
    check_interval: int = 3600
    timezone: str = "UTC"
    executor: str = "auto"
    lease_seconds: int = 30
    align: str = "day"
    retention_days: int | None = None
    preview_max: int = 200
    hold_minutes_max: int = 30
    holds_per_person: int = 3
    offer_minutes: int = 60
    public_reads: bool = False
    public_data: Sequence[str] = ()
    slots_per_day_max: int = 1_440
    slots_per_window_max: int = 50_000
    data_bytes_max: int = 65_536
    blackouts_max: int = 1_000
    dates_max: int = 2_000
    expansion_steps_max: int = 100_000
    events_max: int = 3_000
    enabled: bool = True
    queue_fallback: str = "thread"
    shard_size: int = 500
    shards_at_once: int = 4
    name: str = "default"
    api_prefix: str | None = None
    api_token: str | Sequence[str] | None = field(default=None, repr=False)
    api_read_token: str | Sequence[str] | None = field(default=None, repr=False)
    api_wrong_tokens: int = 100
    api_requests_per_minute: int = 6000
    feed_host: str | None = None

    @classmethod
    def from_mapping(cls, config: Mapping[str, Any]) -> Settings:
        """Read and check the settings of an app's config.

        :param config: e.g. ``app.config``; keys without our prefix are ignored.
        :raises ConfigError: for an unknown key or a value out of range; names key, value, expectation.
        """
        known = {PREFIX + f.name.upper(): f.name for f in fields(cls)}
        given = {key: value for key, value in config.items() if _OURS.match(str(key))}
        for key in given:
            if _OURS.sub("", key) in _MOVED:
                raise ConfigError(f"{key}: {_MOVED[_OURS.sub('', key)]}", key=key)
            if key not in known:
                hint = nearest(_OURS.sub("", key), (name.removeprefix(PREFIX) for name in known), PREFIX, 40)
                raise ConfigError(f"{key} is not a setting.{hint}", key=key)
        settings = cls(**{known[key]: value for key, value in given.items()})
        settings._check()
        return settings

    def _check(self) -> None:
        self._check_int("window_days", 1, MAX_DAYS)
        self._check_int("check_interval", 1, 86_400)
        self._check_int("lease_seconds", 1, 3_600)
        self._check_int("preview_max", 1, 10_000)
        self._check_int("hold_minutes_max", 1, 10_080)
        self._check_int("holds_per_person", 1, 10_000)
        self._check_int("offer_minutes", 1, 10_080)
        self._check_int("slots_per_day_max", 1, 1_440)
        self._check_int("slots_per_window_max", 1, 10_000_000)
        self._check_int("data_bytes_max", 2, 1_000_000)
        self._check_int("blackouts_max", 1, 10_000)
        self._check_int("dates_max", 1, 10_000)
        self._check_int("expansion_steps_max", 10_000, 100_000_000)
        self._check_int("events_max", 100, 1_000_000)
        if self.retention_days is not None:
            self._check_int("retention_days", 1, MAX_RETENTION_DAYS, " or None")
        self._check_int("shard_size", 1, 10_000)
        self._check_int("shards_at_once", 1, 1_000)
        self._check_choice("align", ("day", "week"))
        self._check_choice("queue_fallback", ("thread", "none"))
        for name in ("enabled", "public_reads"):
            if not isinstance(getattr(self, name), bool):
                self._refuse(name, "True or False")
        self._check_api()
        if not (isinstance(self.name, str) and 0 < len(self.name) <= 64):
            self._refuse("name", "a text of 1 to 64 characters")
        if not (isinstance(self.executor, str) and (self.executor in EXECUTORS or ":" in self.executor)):
            self._refuse("executor", f"one of {', '.join(EXECUTORS)}, or module:attribute")
        try:
            ZoneInfo(self.timezone)
        except (ValueError, OSError, TypeError, LookupError):
            self._refuse("timezone", "the name of an IANA time zone such as Europe/Madrid")

    def _check_api(self) -> None:
        prefix = self.api_prefix
        if prefix is not None and not (isinstance(prefix, str) and _PREFIX.fullmatch(prefix)):
            self._refuse("api_prefix", "a path such as /api, without a slash at its end, or None")
        self._check_int("api_wrong_tokens", 1, 10_000)
        self._check_int("api_requests_per_minute", 1, 1_000_000)
        keys = self.public_data
        are_texts = isinstance(keys, list | tuple | set | frozenset) and all(isinstance(k, str) for k in keys)
        if not are_texts:
            self._refuse("public_data", 'a tuple of keys of data, such as ("description", "level")')
        for name in ("api_token", "api_read_token"):
            for token in tokens_of(getattr(self, name)):
                self._check_token(name, token)
        if set(tokens_of(self.api_token)) & set(tokens_of(self.api_read_token)):
            self._refuse_secret("api_read_token", "other tokens than in API_TOKEN: those may write")
        host = self.feed_host
        if host is not None and not (isinstance(host, str) and _HOST.fullmatch(host)):
            self._refuse("feed_host", "the name of a host such as slots.example.com, or None")

    def _check_token(self, name: str, token: Any) -> None:
        if not isinstance(token, str) or len(token) < MIN_TOKEN:
            self._refuse_secret(
                name,
                f"at least {MIN_TOKEN} characters, such as from python -c 'import secrets; "
                "print(secrets.token_urlsafe(32))'; or a list of such texts, or None",
            )
        if not _TOKEN.fullmatch(token):
            self._refuse_secret(name, "printable ASCII characters without spaces")
        if _PLACEHOLDER.search(token):
            self._refuse_secret(name, "a random text: this one looks like the placeholder of an example")

    def _refuse_secret(self, name: str, expected: str) -> None:
        key = PREFIX + name.upper()
        raise ConfigError(f"{key}: expected {expected} (the value is not shown)", key=key, expected=expected)

    def _check_int(self, field: str, low: int, high: int, otherwise: str = "") -> None:
        value = getattr(self, field)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self._refuse(field, f"a whole number from {low} to {high}{otherwise}")

    def _check_choice(self, field: str, choices: tuple[str, ...]) -> None:
        if getattr(self, field) not in choices:
            self._refuse(field, f"one of {', '.join(choices)}")

    def _refuse(self, field: str, expected: str) -> None:
        key, value = PREFIX + field.upper(), getattr(self, field)
        raise refusal(key, value, expected, ConfigError, key=key)


def tokens_of(value: Any) -> tuple[Any, ...]:
    """Return the tokens of a setting: none, one, or those of a list."""
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list | tuple) else (value,)
