"""RRULE text for other programs: the same occurrences as the rule it came from."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

import pytest

from flask_rollingslots.recurrence import Recurrence

START = datetime(2025, 1, 1, 9)


@pytest.mark.parametrize(
    "rrule",
    [
        "FREQ=YEARLY;BYMONTHDAY=4;BYDAY=1MO",
        "FREQ=YEARLY;BYMONTHDAY=4",
        "FREQ=YEARLY;BYWEEKNO=10",
        "FREQ=YEARLY;BYMONTHDAY=13;BYDAY=FR",
    ],
)
def test_what_is_written_out_means_the_same(rrule: str) -> None:
    """Parts that are written out for other programs change no occurrence."""
    ours = Recurrence(rrule, START, "Europe/Madrid")
    text = ours.ical_rrule()
    assert text is not None
    theirs = Recurrence(text, START, "Europe/Madrid")
    span = (datetime(2025, 1, 1, tzinfo=UTC), datetime(2060, 1, 1, tzinfo=UTC))
    expected = list(islice(ours.between(*span), 40))
    assert expected
    assert list(islice(theirs.between(*span), 40)) == expected
