"""Wall clock and instants: gaps, folds, whole missing days, half hours, zones far from Greenwich."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest

from flask_rollingslots.recurrence import Recurrence
from flask_rollingslots.recurrence.zones import find_zone, instant_of

HOUR = timedelta(hours=1)
NEW_YORK = "America/New_York"
SAMPLE = [
    "Africa/Cairo", "America/New_York", "America/Nuuk", "America/Santiago", "America/St_Johns", "Antarctica/Troll",
    "Asia/Beirut", "Asia/Gaza", "Asia/Kathmandu", "Atlantic/Azores", "Australia/Lord_Howe", "Europe/Madrid",
    "Pacific/Apia", "Pacific/Chatham", "Pacific/Easter", "Pacific/Kiritimati", "Pacific/Pago_Pago", "UTC",
]  # fmt: skip


def utc(*parts: int) -> datetime:
    """Return an aware time."""
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


def shown(recurrence: Recurrence, start: datetime, end: datetime) -> list[tuple[str, str]]:
    """Return original starts and instants as short texts."""
    found = recurrence.between(start, end)
    return [(f"{each.original_start:%d %H:%M}", f"{each.starts_at:%d %H:%M}") for each in found]


def test_a_time_in_the_gap_is_shown_later_and_keeps_its_name() -> None:
    """02:30 on the night to summer time is 03:30, by its nominal name, and 02:30 again the next day."""
    recurrence = Recurrence("FREQ=DAILY", datetime(2026, 3, 6, 2, 30), NEW_YORK)
    assert shown(recurrence, utc(2026, 3, 7), utc(2026, 3, 10)) == [
        ("07 02:30", "07 07:30"),
        ("08 02:30", "08 07:30"),
        ("09 02:30", "09 06:30"),
    ]


def test_gap_skip_leaves_it_out_and_count_goes_on() -> None:
    """With gap="skip" the missing time is left out; COUNT counted it."""
    recurrence = Recurrence("FREQ=DAILY;COUNT=3", datetime(2026, 3, 7, 2, 30), NEW_YORK, gap="skip")
    assert shown(recurrence, utc(2026, 3, 1), utc(2026, 4, 1)) == [
        ("07 02:30", "07 07:30"),
        ("09 02:30", "09 06:30"),
    ]


def test_a_shifted_one_yields_to_the_one_that_is_there() -> None:
    """02:30 shifted onto 03:30 gives way to 03:30 itself, so no instant comes twice."""
    recurrence = Recurrence("FREQ=DAILY;BYHOUR=2,3", datetime(2026, 3, 7, 2, 30), NEW_YORK)
    assert shown(recurrence, utc(2026, 3, 8), utc(2026, 3, 9)) == [("08 03:30", "08 07:30")]


def test_a_shifted_one_stays_where_the_other_is_excluded() -> None:
    """If 03:30 is excluded, nobody is there, and the shifted 02:30 is shown."""
    recurrence = Recurrence(
        "FREQ=DAILY;BYHOUR=2,3", datetime(2026, 3, 7, 2, 30), NEW_YORK, exdates=[datetime(2026, 3, 8, 3, 30)]
    )
    assert shown(recurrence, utc(2026, 3, 8), utc(2026, 3, 9)) == [("08 02:30", "08 07:30")]


def test_occurrences_are_sorted_by_instant_around_a_gap() -> None:
    """Starts every 40 minutes: those of the missing hour are shown among the later ones, in order."""
    recurrence = Recurrence(
        "FREQ=DAILY",
        datetime(2026, 3, 7, 0, 20),
        NEW_YORK,
        duration=timedelta(minutes=40),
        every=timedelta(minutes=40),
        until_time=datetime(2026, 1, 1, 5).time(),
    )
    found = [each.starts_at for each in recurrence.between(utc(2026, 3, 8), utc(2026, 3, 9))]
    assert found == sorted(set(found))
    assert shown(recurrence, utc(2026, 3, 8, 7), utc(2026, 3, 8, 9)) == [
        ("08 03:00", "08 07:00"),
        ("08 02:20", "08 07:20"),
        ("08 03:40", "08 07:40"),
        ("08 04:20", "08 08:20"),
    ]


def test_of_two_equal_times_the_first_counts() -> None:
    """01:30 on the night to winter time is the one before the change, once."""
    recurrence = Recurrence("FREQ=DAILY", datetime(2026, 10, 31, 1, 30), NEW_YORK)
    assert shown(recurrence, utc(2026, 11, 1), utc(2026, 11, 3)) == [
        ("01 01:30", "01 05:30"),
        ("02 01:30", "02 06:30"),
    ]


def test_gap_skip_keeps_times_that_exist_twice() -> None:
    """What exists twice is not missing."""
    recurrence = Recurrence("FREQ=DAILY;COUNT=3", datetime(2026, 10, 31, 1, 30), NEW_YORK, gap="skip")
    assert [name for name, _ in shown(recurrence, utc(2026, 10, 1), utc(2026, 12, 1))] == [
        "31 01:30",
        "01 01:30",
        "02 01:30",
    ]


def test_window_edges_inside_a_fold_and_a_gap_lose_nothing() -> None:
    """Windows cut at every quarter of an hour around both changes together give each occurrence once."""
    for day in (datetime(2026, 3, 8), datetime(2026, 11, 1)):
        recurrence = Recurrence("FREQ=HOURLY", day - timedelta(days=1) + timedelta(minutes=30), NEW_YORK)
        start = utc(day.year, day.month, day.day)
        whole = list(recurrence.between(start, start + 24 * HOUR))
        quarters = [start + timedelta(minutes=15) * n for n in range(97)]
        assert [each for pair in pairwise(quarters) for each in recurrence.between(*pair)] == whole
        assert recurrence.after(start - timedelta(seconds=1), len(whole)) == whole


def test_a_whole_missing_day_is_shown_on_the_next_or_yields() -> None:
    """Samoa had no 30 December 2011: a daily start yields to the one of the 31st, a monthly one moves there."""
    daily = Recurrence("FREQ=DAILY", datetime(2011, 12, 28, 12), "Pacific/Apia")
    assert [name for name, _ in shown(daily, utc(2011, 12, 28), utc(2012, 1, 1))] == [
        "28 12:00", "29 12:00", "31 12:00", "01 12:00",
    ]  # fmt: skip
    monthly = Recurrence("FREQ=MONTHLY;BYMONTHDAY=30", datetime(2011, 11, 30, 12), "Pacific/Apia")
    assert shown(monthly, utc(2011, 12, 1), utc(2012, 1, 1)) == [("30 12:00", "30 22:00")]


def test_half_hour_change() -> None:
    """Lord Howe moves by half an hour: 02:15 is shown at 02:45."""
    recurrence = Recurrence("FREQ=DAILY", datetime(2026, 10, 3, 2, 15), "Australia/Lord_Howe")
    assert shown(recurrence, utc(2026, 10, 3), utc(2026, 10, 5)) == [
        ("04 02:15", "03 15:45"),
        ("05 02:15", "04 15:15"),
    ]


@pytest.mark.parametrize("zone", ["Pacific/Pago_Pago", "Pacific/Kiritimati", "America/Santiago", "UTC"])
def test_midnight_belongs_to_the_local_day(zone: str) -> None:
    """Around midnight of zones far from Greenwich each local day has its two starts."""
    recurrence = Recurrence("FREQ=DAILY;BYHOUR=0,23", datetime(2026, 6, 1, 0, 0), zone)
    place = ZoneInfo(zone)
    for day in range(1, 20):
        start = datetime(2026, 6, day, tzinfo=place)
        found = list(recurrence.between(start, start + timedelta(days=1)))
        assert [each.original_start for each in found] == [
            datetime(2026, 6, day, 0),
            datetime(2026, 6, day, 23),
        ]


def test_shift_moves_what_is_shown_and_keeps_the_names() -> None:
    """A shift of the wall clock moves the shown time only, also into and out of a gap."""
    recurrence = Recurrence("FREQ=DAILY", datetime(2026, 3, 7, 1, 0), NEW_YORK, shift=timedelta(minutes=90))
    assert shown(recurrence, utc(2026, 3, 7), utc(2026, 3, 10)) == [
        ("07 01:00", "07 07:30"),
        ("08 01:00", "08 07:30"),
        ("09 01:00", "09 06:30"),
    ]
    assert recurrence.contains(datetime(2026, 3, 8, 1, 0))
    assert not recurrence.contains(datetime(2026, 3, 8, 2, 30))


@pytest.mark.parametrize("days", [-3, -1, 1, 3])
def test_windows_find_what_a_shift_moved_into_them(days: int) -> None:
    """A shift by days takes each start out of its own window and into another, none twice, none lost."""
    recurrence = Recurrence("FREQ=DAILY", datetime(2026, 1, 1, 9), NEW_YORK, shift=timedelta(days=days))
    for n in range(20):
        start = utc(2026, 3, 1) + timedelta(days=n)
        found = list(recurrence.between(start, start + timedelta(days=1)))
        assert [each.original_start for each in found] == [datetime(2026, 3, 1 + n, 9) - timedelta(days=days)]


def test_until_as_an_instant_is_compared_with_instants() -> None:
    """An UNTIL in UTC decides by instants, also for a start in a gap and for the first of two equal times."""
    gap = Recurrence(
        "FREQ=DAILY;UNTIL=20260308T071500Z;BYHOUR=2,3;BYMINUTE=10,30", datetime(2026, 3, 8, 2, 10), NEW_YORK
    )
    assert list(gap.originals(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59))) == [
        datetime(2026, 3, 8, 2, 10),
        datetime(2026, 3, 8, 3, 10),
    ]
    fold = Recurrence("FREQ=HOURLY;UNTIL=20261101T061500Z", datetime(2026, 11, 1, 0, 30), NEW_YORK)
    assert list(fold.originals(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59))) == [
        datetime(2026, 11, 1, 0, 30),
        datetime(2026, 11, 1, 1, 30),
    ]


def test_until_as_a_date_means_the_whole_local_day() -> None:
    """A DATE UNTIL includes the last start of that day in the zone."""
    recurrence = Recurrence(
        "FREQ=DAILY;BYHOUR=0,23;UNTIL=20260105", datetime(2026, 1, 4, 23, 30), "Asia/Tokyo"
    )
    last = recurrence.last()
    assert last is not None
    assert last.original_start == datetime(2026, 1, 5, 23, 30)


def test_aware_exdates_name_an_instant_also_in_a_gap() -> None:
    """An aware EXDATE removes what is shown at that instant, whatever its nominal name."""
    recurrence = Recurrence(
        "FREQ=DAILY",
        datetime(2026, 3, 6, 2, 30),
        NEW_YORK,
        exdates=[utc(2026, 3, 8, 7, 30), utc(2026, 3, 9, 6, 30)],
    )
    assert [name for name, _ in shown(recurrence, utc(2026, 3, 7), utc(2026, 3, 11))] == [
        "07 02:30",
        "10 02:30",
    ]


class ChangedZone(tzinfo):
    """A zone of a tz database that changed: two hours ahead, from 2026-07-01 on three hours."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        """Return the offset."""
        return timedelta(hours=3 if moment and moment.replace(tzinfo=None) >= datetime(2026, 7, 1) else 2)

    def dst(self, moment: datetime | None) -> timedelta:
        """Return no summer time."""
        return timedelta(0)

    def tzname(self, moment: datetime | None) -> str:
        """Return the name."""
        return "Test/Changed"


def test_a_zone_object_replaces_the_name() -> None:
    """With another zone object the names stay and the instants move: what a new tz database does."""
    before = Recurrence("FREQ=DAILY", datetime(2026, 6, 30, 9), ZoneInfo("Etc/GMT-2"))
    after = Recurrence("FREQ=DAILY", datetime(2026, 6, 30, 9), ChangedZone())
    window = utc(2026, 6, 29), utc(2026, 7, 3)
    assert before.timezone == "Etc/GMT-2"
    assert [each.original_start for each in before.between(*window)] == [
        each.original_start for each in after.between(*window)
    ]
    assert [each.starts_at.hour for each in before.between(*window)] == [7, 7, 7]
    assert [each.starts_at.hour for each in after.between(*window)] == [7, 6, 6]


def test_a_zone_file_without_a_name_works() -> None:
    """A ZoneInfo read from a file has no key and is still a zone."""
    from importlib.resources import files

    data = files("tzdata").joinpath("zoneinfo", "Europe", "Madrid").read_bytes()
    name, zone = find_zone(ZoneInfo.from_file(io.BytesIO(data)))
    assert name
    assert instant_of(datetime(2026, 7, 1, 12), zone) == utc(2026, 7, 1, 10)


def check_a_year(name: str, year: int) -> None:
    """Check daily starts at 02:30 and 00:00 in a zone over a year."""
    zone = ZoneInfo(name)
    for hour, minute in ((2, 30), (0, 0)):
        recurrence = Recurrence("FREQ=DAILY", datetime(year - 1, 12, 30, hour, minute), name)
        found = list(
            recurrence.between(datetime(year, 1, 1, tzinfo=zone), datetime(year + 1, 1, 1, tzinfo=zone))
        )
        instants = [each.starts_at for each in found]
        assert instants == sorted(set(instants)), name
        days = {each.original_start.date() for each in found}
        missing = {date(year, 1, 1) + timedelta(days=n) for n in range(365)} - days
        assert len(missing) <= 1, (name, missing)
        for each in found:
            wall = each.starts_at.astimezone(zone).replace(tzinfo=None)
            assert each.original_start.time() == datetime(year, 1, 1, hour, minute).time()
            assert timedelta(0) <= wall - each.original_start <= timedelta(days=1)
        whole_day_gaps = {day for day in missing if not exists(day, zone)}
        assert missing == whole_day_gaps, (name, missing)


def exists(day: date, zone: ZoneInfo) -> bool:
    """Whether a zone had noon on a day."""
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=zone)
    return noon.astimezone(UTC).astimezone(zone).date() == day


@pytest.mark.parametrize("name", SAMPLE)
def test_a_year_of_a_zone(name: str) -> None:
    """No instant comes twice, no day is missing but a whole-day gap, and names are nominal."""
    check_a_year(name, 2026)
    check_a_year(name, 2011)


@pytest.mark.slow
def test_a_year_of_every_zone() -> None:
    """The same for every zone of the tz database, in this year and in the year of Samoa's missing day."""
    for name in sorted(available_timezones()):
        check_a_year(name, 2026)
        check_a_year(name, 2011)


@pytest.mark.slow
def test_no_zone_changes_back_within_three_days() -> None:
    """What the quick reading of steady offsets relies on holds for every zone from 2000 to 2037."""
    days = [datetime(2000, 1, 1, 12) + timedelta(days=n) for n in range(38 * 365)]
    for name in sorted(available_timezones()):
        offsets = [(day, ZoneInfo(name).utcoffset(day)) for day in days]
        changes = [later for (_, before), (later, after) in pairwise(offsets) if before != after]
        assert all(later - earlier > timedelta(days=3) for earlier, later in pairwise(changes)), name
