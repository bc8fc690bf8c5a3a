"""Reading the pages of the demo like a browser: tags balanced, forms sent with all that they hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import event

if TYPE_CHECKING:
    from flask import Flask
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

ROOT = Path(__file__).resolve().parents[2]
VENUES = ("game-hall", "clubs", "rental", "community", "school")
_VOID = {"br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}
_TICKED = ("checkbox", "radio")
_OWN_LABEL = ("hidden", "submit", "button")


@dataclass
class Form:
    """A form of a page."""

    action: str
    method: str
    fields: dict[str, Any] = field(default_factory=dict)


class Page(HTMLParser):
    """A parsed page, with all that is wrong with its markup in ``faults``.

    ``cells`` holds the week's slots: what each says, and the address of its page.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.links: dict[str, str] = {}
        self.cells: dict[str, str] = {}
        self.forms: list[Form] = []
        self.controls: list[dict[str, str]] = []
        self.labels: set[str] = set()
        self.ids: list[str] = []
        self.tags: list[str] = []
        self._open: list[str] = []
        self._link: list[str] = []
        self._texts: list[str] = []
        self._select = self._area = ""
        self.feed(html)
        self.close()
        if self._open:
            self.faults.append(f"never closed: {self._open}")

    @property
    def text(self) -> str:
        """All that can be read, with single spaces."""
        return " ".join("".join(self._texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        if "style" in own or any(name.startswith("on") for name in own):
            self.faults.append(f"inline style or script on {tag}")
        if "id" in own:
            self.ids.append(own["id"])
        if tag not in _VOID:
            self._open.append(tag)
        if tag == "a":
            self._link = [own.get("href", "")]
            if "aria-label" in own:
                self.links[own["aria-label"]] = own["href"]
            if "cell" in own.get("class", "").split():
                self.cells[own["aria-label"]] = own["href"]
        elif tag == "button" and "formaction" in own:
            self.cells[own["aria-label"].removesuffix(". Book")] = own["formaction"].removesuffix("/hold")
        elif tag == "form":
            self.forms.append(Form(own.get("action", ""), own.get("method", "get")))
        else:
            self._part_of_form(tag, own)

    def _part_of_form(self, tag: str, own: dict[str, str]) -> None:
        if tag == "label":
            self.labels.add(own.get("for", ""))
        elif tag in ("input", "select", "textarea", "progress"):
            self._control(tag, own)
            self._area = own["name"] if tag == "textarea" else ""
        elif tag == "option" and ("selected" in own or self._select not in self.forms[-1].fields):
            self.forms[-1].fields[self._select] = own.get("value", "")

    def _control(self, tag: str, own: dict[str, str]) -> None:
        if own.get("type") not in _OWN_LABEL:
            self.controls.append(own)
        if tag == "select":
            self._select = own["name"]
        elif tag == "input" and own.get("type") == "checkbox" and "checked" in own:
            self.forms[-1].fields.setdefault(own["name"], []).append(own.get("value", ""))
        elif tag == "input" and self.forms and (own.get("type") not in _TICKED or "checked" in own):
            self.forms[-1].fields[own["name"]] = own.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1] != tag:
            self.faults.append(f"</{tag}> closes {self._open[-1:]}")
            return
        self._open.pop()
        if tag == "a" and self._link:
            href, *texts = self._link
            self.links.setdefault(" ".join("".join(texts).split()), href)
            self._link = []

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("script", "style"):
            self.faults.append("inline style or script")
        self._texts.append(data)
        if self._open and self._open[-1] == "textarea":
            self.forms[-1].fields[self._area] = data
        if self._link:
            self._link.append(data)


def read(response: TestResponse) -> Page:
    """Return the page of an answer."""
    return Page(response.text)


def send(client: FlaskClient, address: str, page: Page, number: int = 0, **typed: Any) -> TestResponse:
    """Send a form of a page, the first that is not for looking, with what somebody typed instead of what it held."""
    form = [form for form in page.forms if form.method == "post"][number]
    return client.post(form.action or address, data={**form.fields, **typed})


def hold(client: FlaskClient, address: str) -> TestResponse:
    """Open a slot's page and press its button: the first of two clicks."""
    return send(client, address, read(client.get(address)))


def book(client: FlaskClient, address: str, name: str = "Ada Lovelace", party: int = 1) -> TestResponse:
    """Hold a slot, fill the form in, and send it; the answer is that of the first click if it is a refusal."""
    held = hold(client, address)
    if held.status_code != 303:
        return held
    return send(client, held.location, read(client.get(held.location)), name=name, party=party)


def template_id(app: Flask, name: str) -> int:
    """Return the id of the first template with this name."""
    from demo_app import db, slots

    with app.app_context():
        cls = slots.Template
        found = db.session.query(cls.id).filter(cls.name == name).order_by(cls.id).first()
        assert found is not None
        return int(found[0])


class Queries:
    """Counts the statements that an app's database gets."""

    def __init__(self, app: Flask) -> None:
        from demo_app import db

        with app.app_context():
            self._engine = db.engine
        self.statements: list[str] = []

    def __enter__(self) -> Queries:
        event.listen(self._engine, "before_cursor_execute", self._note)
        return self

    def _note(self, connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        self.statements.append(statement)

    def __exit__(self, *exception: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._note)
