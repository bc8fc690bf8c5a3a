"""The parts of the documentation that are read out of the code: settings, fields, commands, errors, signals, rooms.

``python docs/generate.py`` prints them; with ``--write`` those that users read are put into their pages, between two
comments. A build of the documentation writes the others into ``docs/generated``.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flask_rollingslots import errors, signals
from flask_rollingslots.cli import slots_group
from flask_rollingslots.models import FIELDS
from flask_rollingslots.settings import PREFIX, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
_PARAM = re.compile(r"^:param (\w+): (.*?)(?=^:param |\Z)", re.MULTILINE | re.DOTALL)
_ROLE = re.compile(r":\w+:`~?(?:[\w.]*\.)?(\w+)`")


def _markdown(text: str) -> str:
    """Return reStructuredText of a docstring as Markdown on one line."""
    return " ".join(_ROLE.sub(r"`\1`", text).replace("``", "`").replace("<", "\\<").split())


def setting_meanings() -> dict[str, str]:
    """Return what each setting means, by the name of its field."""
    text = inspect.getdoc(Settings) or ""
    return {name: _markdown(meaning) for name, meaning in _PARAM.findall(text)}


def settings() -> str:
    """Return one section for each setting."""
    meanings = setting_meanings()
    return "\n".join(
        f"## `{PREFIX}{each.name.upper()}`\n\nDefault: `{each.default!r}`\n\n{_sentence(meanings[each.name])}\n"
        for each in fields(Settings)
    )


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def template_fields() -> str:
    """Return a table of the fields that a template is given, and one of those that the library keeps up."""
    given = ["| field | in JSON | type | what it is |", "|---|---|---|---|"]
    kept = ["| field | what it is |", "|---|---|"]
    for each in FIELDS.values():
        if each.is_kept:
            kept.append(f"| `{each.name}` | {_cell(each.meaning)} |")
        else:
            given.append(f"| `{each.name}` | `{each.key}` | {each.kind.python} | {_cell(each.meaning)} |")
    between = "The library keeps these up itself; read them, and leave them alone:"
    return "\n".join([*given, "", between, "", *kept]) + "\n"


def commands() -> str:
    """Return one section for each ``flask slots`` command, with its options."""
    context = click.Context(slots_group)
    names = slots_group.list_commands(context)
    return "\n".join(
        _command(name, each) for name in names if (each := slots_group.get_command(context, name))
    )


def _command(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=f"flask slots {name}")
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    usage = " ".join([context.command_path, "[OPTIONS]", *((each.name or "").upper() for each in arguments)])
    parts = [f"## {name}", f"```text\n{usage}\n```", inspect.cleandoc(command.help or "")]
    rows = [_format_row(each) for each in arguments if isinstance(each.type, click.DateTime)]
    records = [each.get_help_record(context) for each in command.params if each not in arguments]
    rows += [f"| `{names}` | {_cell(text)} |" for names, text in filter(None, records)]
    if rows:
        parts.append("\n".join(["| option | meaning |", "|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _format_row(argument: click.Argument) -> str:
    """Return a row that says how a date or a time is written."""
    letters = {"%Y": "YYYY", "%m": "MM", "%d": "DD", "%H": "HH", "%M": "MM", "%S": "SS"}
    assert isinstance(argument.type, click.DateTime)  # noqa: S101 (for the type checker)
    form = re.sub("%.", lambda found: letters[found[0]], argument.type.formats[0])
    return f"| `{(argument.name or '').upper()}` | Written as `{form}`. |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def failures() -> str:
    """Return a table of all errors."""
    found = [each for each in vars(errors).values() if _is_error(each)]
    rows = [
        f"| `{each.__name__}` | {_bases(each)} | {_markdown((each.__doc__ or '').splitlines()[0])} |"
        for each in found
    ]
    return "\n".join(["| error | is also | says |", "|---|---|---|", *rows]) + "\n"


def _is_error(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, errors.RollingSlotsError)


def _bases(each: type[Any]) -> str:
    own = [base.__name__ for base in each.__bases__ if base not in (errors.RollingSlotsError, Exception)]
    return ", ".join(f"`{name}`" for name in own)


def notices() -> str:
    """Return a table of all signals, with the comment above each as its meaning."""
    lines = inspect.getsource(signals).splitlines()
    rows, comment = [], list[str]()
    for line in lines:
        found = re.match(r"(\w+) = _signals\.signal\(", line)
        if found:
            rows.append(f"| `{found[1]}` | {_markdown(' '.join(comment))} |")
        comment = [*comment, line.removeprefix("#:")] if line.startswith("#:") else []
    return "\n".join(["| signal | when, and with what |", "|---|---|", *rows]) + "\n"


def rooms() -> str:
    """Return a table of the house, the doors first: each room and file with the first line of its docstring."""
    plan = _load(ROOT / "tests" / "house" / "test_layers.py")
    rows = []
    for name in reversed((*plan.ROOMS, *plan.DOORS)):
        folder = plan.ROOT / name
        for path in sorted(folder.glob("*.py")) or [folder.with_suffix(".py")]:
            if path.exists():
                place = f"{name}/" if path.stem == "__init__" else path.relative_to(plan.ROOT).as_posix()
                first = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").split("\n\n")[0]
                rows.append(f"| `{place}` | {_cell(_markdown(first))} |")
    return "\n".join(["| room, file | what it does |", "|---|---|", *rows]) + "\n"


def _load(path: Path) -> Any:
    """Return a module that is no part of a package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PARTS: dict[str, Callable[[], str]] = {
    "settings": settings,
    "fields": template_fields,
    "commands": commands,
    "errors": failures,
    "signals": notices,
    "rooms": rooms,
}


#: The page in which each part stands.
PAGES = {
    "settings": "configuration.md",
    "fields": "templates.md",
    "commands": "commands.md",
    "errors": "bookings.md",
    "signals": "bookings.md",
    "rooms": "architecture.md",
}


def filled(page: str) -> str:
    """Return the text of a page with its generated parts as they are now.

    :param page: the file's name, such as ``commands.md``.
    """
    text = (DOCS / page).read_text("utf-8")
    for name, place in PAGES.items():
        if place == page:
            begin, end = f"<!-- generated: {name} -->\n", f"<!-- end of {name} -->\n"
            before, _, rest = text.partition(begin)
            _, _, after = rest.partition(end)
            text = f"{before}{begin}\n{PARTS[name]()}\n{end}{after}"
    return text


def write_pages() -> None:
    """Bring the pages with generated parts up to date."""
    for page in set(PAGES.values()):
        _write(DOCS / page, filled(page))


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")


def _main(names: Iterable[str]) -> None:
    if "--write" in names:
        write_pages()
        return
    for name in names or PARTS:
        sys.stdout.write(PARTS[name]())


if __name__ == "__main__":
    _main(sys.argv[1:])
