"""A five-a-side court in one file: the week as a page, booking, and giving back.

``flask --app club add-offers``, then ``flask --app club run``.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, time, timedelta
from itertools import groupby
from typing import Any

from flask import Flask, flash, redirect, render_template_string, request, session, url_for
from werkzeug.wrappers import Response

from flask_rollingslots import BookingMixin, RollingSlots, SlotClosed, SlotFull, SlotNotFound

app = Flask(__name__)
app.config.from_mapping(SECRET_KEY="change me", SESSION_COOKIE_SAMESITE="Lax")
app.config.from_prefixed_env()  # such as FLASK_SECRET_KEY
slots = RollingSlots(app)  # no database configured: it brings its own, in the folder `instance`

PAGE = """
<!doctype html>
<html lang="en">
<meta name="viewport" content="width=device-width">
<title>The court</title>
<style>
  body { font-family: sans-serif; max-width: 75rem; margin: auto; padding: 1rem }
  main { display: flex; flex-wrap: wrap; gap: 1rem }
  section { flex: 1 0 9rem }
  form { margin: .4rem 0 }
</style>
<h1>The court</h1>
{% for message in get_flashed_messages() %}<p role="status">{{ message }}</p>{% endfor %}
{% if mine %}
<h2>Your bookings</h2>
{% for booking in mine %}
<form method="post" action="{{ url_for('release', number=booking.id) }}">
  {{ booking.slot.name }}, {{ booking.slot.local_start.strftime("%a %d %b %H:%M") }}
  <button>Give back</button>
</form>
{% endfor %}
{% endif %}
<p>
  <a href="{{ url_for('week', number=number - 1) }}">Earlier</a>
  <a href="{{ url_for('week', number=number + 1) }}">Later</a>
</p>
<main>
  {% for day, slots in days %}
  <section>
    <h2>{{ day.strftime("%a %d %b") }}</h2>
    {% for slot in slots %}
    <form method="post" action="{{ url_for('book', key=slot.key) }}">
      {{ slot.local_start.strftime("%H:%M") }} {{ slot.name }}
      {% if slot.state == "open" %}
      <button aria-label="Book {{ slot.local_start.strftime('%a %H:%M') }}">Book, {{ slot.left }} left</button>
      {% else %}<i>{{ slot.state }}</i>{% endif %}
    </form>
    {% endfor %}
  </section>
  {% endfor %}
</main>
"""


@app.cli.command("add-offers")
def add_offers() -> None:
    """Two offers on one court: an hour of five-a-side, and a birthday party of two hours at the weekend."""
    court: dict[str, Any] = {"resource": "court", "exclusive": True, "timezone": "Europe/Madrid"}
    slots.create_template(
        name="Five-a-side",
        rrule="FREQ=DAILY",
        dtstart=datetime(2026, 1, 1, 10, 0),  # wall-clock time
        duration=timedelta(hours=1),
        every=timedelta(hours=1),
        until_time=time(22, 0),
        capacity=2,
        closes_before=timedelta(minutes=15),
        **court,
    )
    slots.create_template(
        name="Birthday party",
        rrule="FREQ=WEEKLY;BYDAY=SA,SU",
        dtstart=datetime(2026, 1, 1, 15, 0),  # wall-clock time
        duration=timedelta(hours=2),
        closes_before=timedelta(days=2),
        **court,
    )
    slots.db.session.commit()


@app.get("/")
@app.get("/week/<int(signed=True):number>")
def week(number: int = 0) -> str:
    """Show seven days: these, or some weeks later, for ever."""
    start = datetime.now(UTC) + timedelta(weeks=max(number, 0))
    found = slots.between(start, start + timedelta(days=7))
    days = [(day, list(of_day)) for day, of_day in groupby(found, key=lambda slot: slot.local_start.date())]
    return render_template_string(PAGE, days=days, number=max(number, 0), mine=_bookings())


@app.post("/book/<key>")
def book(key: str) -> Response:
    """Take a place for this visitor."""
    try:
        slots.book(key, who=_visitor())
        slots.db.session.commit()
        flash("Booked. See you there!")
    except (SlotFull, SlotClosed, SlotNotFound) as error:
        slots.db.session.rollback()
        flash(f"Sorry: {error}")
    return redirect(request.referrer or url_for("week"))


@app.post("/release/<int:number>")
def release(number: int) -> Response:
    """Give a place of this visitor back."""
    if any(booking.id == number for booking in _bookings()):
        try:
            slots.release(number)
            slots.db.session.commit()
            flash("Given back.")
        except SlotClosed as error:
            slots.db.session.rollback()
            flash(f"Sorry: {error}")
    return redirect(url_for("week"))


def _visitor() -> str:
    """Return who this is: a random name in the signed cookie."""
    return str(session.setdefault("visitor", secrets.token_urlsafe(16)))


def _bookings() -> list[BookingMixin]:
    """Return this visitor's live bookings of slots that are not over."""
    now = datetime.now(UTC)
    mine = slots.bookings(who=session.get("visitor", ""), start=now - timedelta(days=1))
    return [booking for booking in mine if booking.slot.ends_at > now]
