"""The group of all commands: errors become one clear line and an exit code here, and results are printed.

Results go to standard output, progress and errors to standard error.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from importlib import import_module
from typing import Any, TypeVar

import click
from flask.cli import AppGroup

from ..errors import (
    TRIES_OF_A_DOOR,
    InvalidRequest,
    RollingSlotsError,
    TemplateNotFound,
    again_if_lost,
    escaped,
    escaped_json,
    is_of_database,
    sentence,
)
from ..facade import RollingSlots, current_slots

Done = TypeVar("Done")
#: The files of the commands. They import this one, so they are known by name only.
_FILES = ("generating", "keeping", "looking")
#: The exit code of wrong input; of everything else that is refused: 1.
WRONG_INPUT = 2

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")


class Failure(click.ClickException):
    """Ends a command with one line and an exit code."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(escaped(text))
        self.exit_code = code  # type: ignore[misc]  # click documents it as a value of each error


class SlotsGroup(AppGroup):
    """Runs a command, and says what the library refuses; loads the commands when somebody asks for one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        self._load()
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a name, if there is one."""
        self._load()
        return super().get_command(ctx, cmd_name)

    @staticmethod
    def _load() -> None:
        for name in _FILES:
            import_module(f"{__package__}.{name}")

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for; errors of the library and the database become a ``Failure``."""
        try:
            return super().invoke(ctx)
        except (InvalidRequest, TemplateNotFound) as error:
            raise Failure(str(error), WRONG_INPUT) from error
        except RollingSlotsError as error:
            raise Failure(str(error), 1) from error
        except Exception as error:
            if not is_of_database(error):
                raise
            raise Failure(sentence(error), 1) from error


slots_group = SlotsGroup("slots", help="Keep bookable slots filled, and look at them.")


def decide(act: Callable[[RollingSlots], Done], dry_run: bool = False) -> Done:
    """Do something in a transaction of its own; again if another one was in the way. To be printed afterwards."""

    def once() -> Done:
        with current_slots().transaction(dry_run, door="cli") as slots:
            return act(slots)

    return again_if_lost(once, TRIES_OF_A_DOOR)


def print_json(value: Any) -> None:
    """Print plain data, and moments."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=datetime.isoformat)
    click.echo(escaped_json(text))


def say_all(lines: Iterable[str]) -> None:
    """Print several lines."""
    for line in lines:
        say(line)


def say(text: str, err: bool = False) -> None:
    """Print one line; what a terminal could obey is shown as an escape, whoever wrote it."""
    click.echo(escaped(text), err=err)
