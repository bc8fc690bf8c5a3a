"""A person's data: where it is, where it never is, and that it goes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from helpers import Site, meanwhile
from sqlalchemy import select

from flask_rollingslots import SlotFull, signals
from flask_rollingslots.errors import IdempotencyConflict, InvalidRequest
from flask_rollingslots.models import table_of

if TYPE_CHECKING:
    from pathlib import Path

    from flask_rollingslots.facade import Event

FIRST, SECOND, THIRD = (f"1@20260106T{hour}00" for hour in (10, 11, 12))
#: What is said of one person; each word is nowhere else.
ADA: dict[str, str] = {
    "who": "ada-lovelace",
    "name": "Augusta",
    "contact": "countess@example.org",
    "note": "in a wheelchair",
}
TOKEN = "t" * 40


def traces(site: Site) -> list[str]:
    """Return what of the person is in any of the tables, or follows from it."""
    found = []
    for cls in site.slots.models.classes:
        for row in site.session.execute(select(table_of(cls))):
            for name, value in row._mapping.items():
                if any(word in str(value) for word in ADA.values()):
                    found.append(f"{cls.__name__}.{name}")
    keys = select(site.slots.Booking.id).where(site.slots.Booking.request_key.is_not(None))
    return [*found, *(f"request_key of {number}" for number in site.session.scalars(keys))]


def test_a_person_leaves_all_bookings(site: Site) -> None:
    """Live or not, moved or held: one random text stands for the person, and counts stay as they are."""
    site.add(capacity=5)
    site.slots.book(FIRST, who="bea", name="Beatrice")
    first = site.slots.book(FIRST, party=2, idempotency_key="ada-lovelace 1", **ADA)
    moved = site.slots.move(first, SECOND)
    held = site.slots.hold(THIRD, **ADA)
    over = site.slots.book(THIRD, **ADA)
    site.slots.release(over)
    site.session.commit()
    assert len(traces(site)) > 10
    before = [(slot.key, slot.booked, slot.left, slot.state) for slot in site.rows()]
    figures = site.slots.stats().to_dict()

    assert site.slots.forget(ADA["who"]) == 4
    site.session.commit()

    site.session.expire_all()
    assert traces(site) == []
    assert [(slot.key, slot.booked, slot.left, slot.state) for slot in site.rows()] == before
    assert site.slots.stats().to_dict() == figures
    (pseudonym,) = {booking.who for booking in (first, moved, held, over)}
    assert pseudonym.startswith("forgotten-")
    assert len(site.slots.bookings(who=pseudonym, live=False)) == 4
    assert site.slots.bookings(who="bea")[0].name == "Beatrice"
    assert site.slots.forget(ADA["who"]) == 0
    # What is live goes on.
    site.slots.confirm(held)
    moved = site.slots.move(moved, FIRST)
    assert moved.who == pseudonym
    assert site.slots.get_booking(first.token) is moved
    site.slots.release(moved)
    site.session.commit()
    assert {slot.key: slot.booked for slot in site.rows()} == {FIRST: 1, SECOND: 0, THIRD: 1}


def test_each_call_takes_another_text(sqlite_site: Site) -> None:
    """Who comes back later cannot be told from anybody else."""
    site = sqlite_site
    site.add(capacity=5)
    names = set()
    for _ in range(3):
        booking = site.slots.book(FIRST, **ADA)
        site.slots.forget(ADA["who"])
        names.add(booking.who)
    assert len(names) == 3


def test_what_the_session_knows_is_forgotten_too(site: Site) -> None:
    """Rows that were read, or changed and not flushed yet, say nothing afterwards; a rollback takes it back."""
    site.add(capacity=5)
    booking = site.slots.book(FIRST, **ADA)
    site.session.commit()
    booking.note = f"{ADA['name']} prefers the window"
    assert site.slots.forget(ADA["who"]) == 1
    assert (booking.name, booking.contact, booking.note) == (None, None, None)
    site.session.rollback()
    assert (booking.who, booking.name) == (ADA["who"], ADA["name"])


def test_the_same_request_books_again(sqlite_site: Site) -> None:
    """The idempotency keys are gone: they may hold a name, and follow from one."""
    site = sqlite_site
    site.add(capacity=5)
    one = site.slots.book(FIRST, who="ada", idempotency_key="form")
    site.slots.forget("ada")
    assert site.slots.book(FIRST, who="ada", idempotency_key="form") is not one


@pytest.mark.parametrize("who", [None, "", 7, "a\nb", "x" * 201])
def test_nobody_in_particular_cannot_be_forgotten(sqlite_site: Site, who: Any) -> None:
    """Bookings without a ``who`` belong to many."""
    site = sqlite_site
    site.add(capacity=5)
    booking = site.slots.book(FIRST, name="Augusta")
    with pytest.raises(InvalidRequest, match=r"^who = "):
        site.slots.forget(who)
    assert booking.name == "Augusta"


def test_the_event_does_not_say_who(sqlite_site: Site) -> None:
    """Neither signal nor event holds what was forgotten, also when people forget themselves."""
    site = sqlite_site
    site.add(capacity=5)
    booking = site.slots.book(FIRST, **ADA)
    site.session.commit()
    heard: list[Event] = []
    sent: list[dict[str, Any]] = []
    site.slots.on("forgotten")(heard.append)

    def receive(sender: Any, **facts: Any) -> None:
        sent.append(facts)

    with (
        signals.person_forgotten.connected_to(receive, site.app),
        site.slots.acting(ADA["who"], door="pages"),
    ):
        site.slots.forget(ADA["who"])
        site.slots.forget("nobody")
    site.session.commit()
    (event,), (facts,) = heard, sent
    assert facts == {"who": booking.who, "door": "pages", "pseudonym": booking.who, "count": 1}
    assert (event.who, event.booking, event.slot, event.door) == (booking.who, None, None, "pages")
    assert dict(event.details) == {"pseudonym": booking.who, "count": 1}
    with site.slots.acting("desk"):
        site.slots.book(FIRST, **ADA)
        site.slots.forget(ADA["who"])
    site.session.commit()
    assert heard[1].who == "desk"


def test_somebody_else_gives_back_meanwhile(site: Site) -> None:
    """Two who write the same bookings wait for each other; both is done."""
    site.add(capacity=5)
    numbers = [site.slots.book(FIRST, **ADA).id for _ in range(3)]
    site.session.commit()
    assert site.slots.forget(ADA["who"]) == 3
    thread, outcome = meanwhile(site, lambda: site.slots.release(numbers[1]).status)
    site.session.commit()
    thread.join(60)
    assert outcome == ["released"]
    assert traces(site) == []
    assert site.slots.get(FIRST).left == 3


# -- where a person's data never is


def test_neither_log_nor_feed_nor_public_answer_names_anybody(
    sqlite_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is asked for, and whatever fails, says nothing of those who have booked to those who may not know."""
    config = {
        "ROLLINGSLOTS_API_PREFIX": "/api",
        "ROLLINGSLOTS_API_TOKEN": TOKEN,
        "ROLLINGSLOTS_PUBLIC_READS": True,
    }
    site = Site(sqlite_url, tmp_path, SECRET_KEY="s", ROLLINGSLOTS_FEED_HOST="example.org", **config)  # noqa: S106
    said: list[str] = []
    with caplog.at_level(logging.DEBUG), site.app.app_context():
        site.add(capacity=1, resource="court", exclusive=True, group="halls")
        heard: list[Event] = []
        site.slots.on("booked", "cancelled", "closed")(heard.append)

        @site.slots.on("booked")
        def fail(event: Event) -> None:
            raise RuntimeError(str(event.to_dict()))

        booking = site.slots.book(FIRST, idempotency_key="k", **ADA)
        site.session.commit()
        for error, call in (
            (SlotFull, lambda: site.slots.book(FIRST, **ADA)),
            (IdempotencyConflict, lambda: site.slots.book(SECOND, idempotency_key="k", **ADA)),
        ):
            with pytest.raises(error) as caught:
                call()
            said.append(f"{caught.value} {caught.value!r}")
        site.session.rollback()
        said += [repr(heard), repr(booking), repr(booking.slot), repr(site.slots.bookings())]
        said += [str(site.slots.export(form=form).content) for form in ("json", "ics")]
        secret = site.slots.feed_url("halls")
        site.slots.generate()
        site.session.remove()
    client = site.app.test_client()
    paths = [
        "/templates",
        "/templates/1",
        "/templates/1/preview",
        f"/slots/{FIRST}",
        "/health",
        "/openapi.json",
    ]
    span = "start=2026-01-05T00:00:00Z&end=2026-01-08T00:00:00Z"
    paths += [f"/slots?{span}", f"/feed.json?{span}", "/feed.ics", "/bookings/1", secret.split("/api")[1]]
    for path in paths:
        answer = client.get(f"/api{path}")
        assert (answer.status_code, path) in ((200, path), (401, path), (403, path), (404, path))
        said.append(answer.text)
    for args in ("status", "templates", "stats", "doctor"):
        said.append(site.app.test_cli_runner().invoke(args=["slots", args]).output)
    log = "\n".join(logging.Formatter().format(record) for record in caplog.records)
    assert "failed on the event booked" in log
    words = [*ADA.values(), "lovelace", str(booking.token)]
    assert not [(word, text) for word in words for text in (*said, log) if word in text]
