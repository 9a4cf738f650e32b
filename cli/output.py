"""What every command has in common: how it asks, what it complains of, and how it ends."""

import asyncio
import getpass
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog
import typer
from pydantic import TypeAdapter
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from billing.adjustments import Who
from billing.errors import BillingError
from billing.text import is_plain, visible
from environment import WrongSetting
from processes.errors import TemporalUnavailable
from settings import Settings
from store.database.errors import DATABASE_GONE, Unusable

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
NOTHING_CHANGED = "Nothing was changed."
Value = TypeVar("Value")
Told = TypeVar("Told", bound=Settings)


class Screen(Console):
    """A console on which no text can do more than be read, whoever has written it."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Show what a terminal would obey or hide: escapes, bidi and zero-width characters."""
        return super().render_str(visible(text, kept="\n"), **options)


ERRORS = Screen(stderr=True)


def run(ask: Callable[[Settings], Awaitable[Value]], when_interrupted: str) -> Value:
    """Return what was asked for with the settings that every process has, as `run_with` does."""
    return run_with(Settings, ask, when_interrupted)


def run_with(
    told: Callable[[], Told], ask: Callable[[Told], Awaitable[Value]], when_interrupted: str
) -> Value:
    """Return what was asked for with what the command is told by its environment.

    What refuses or does not answer ends the command with a status.
    1: something is away, or did not answer in time. 2: what was asked for cannot be. 130: Ctrl-C,
    after which `when_interrupted` is said.
    """

    # What was asked for is alone on stdout.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

    async def asking() -> Value:
        return await ask(told())

    try:
        return asyncio.run(asking())
    except (BillingError, OSError, Unusable, WrongSetting, *DATABASE_GONE) as error:
        raise _exit(error) from error
    except KeyboardInterrupt as interrupt:
        complain(when_interrupted)
        raise typer.Exit(INTERRUPTED) from interrupt


def complain(what: str) -> None:
    """Tell the person, on stderr."""
    ERRORS.print(f"[red]callwallet:[/] {escape(what)}", highlight=False, soft_wrap=True)


def require_plain(text: str) -> None:
    """Raise BadParameter for a text of which not everything is seen by who reads it later."""
    if not is_plain(text):
        raise typer.BadParameter("one line, please, without control and invisible characters")


def print_json(value: object) -> None:
    """Print a value for programs."""
    typer.echo(TypeAdapter(type(value)).dump_json(value, indent=2))


def logged_in() -> str:
    """Return whose shell it is; nobody's in a container whose user has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def by_command(name: str | None = None, command: str = "cli") -> Who:
    """Return who acts by a command, as the book of powers has it: nobody has shown a key."""
    return Who(None, command, (logged_in() if name is None else name.strip()) or None)


def _exit(error: Exception) -> typer.Exit:
    """Say what went wrong, and return the status to end with."""
    if isinstance(error, DATABASE_GONE):
        complain(f"PostgreSQL does not answer ({type(error).__name__}).")
        return typer.Exit(FAILED)
    complain(f"{error}.")
    is_about_a_server = isinstance(error, TemporalUnavailable | Unusable)
    return typer.Exit(FAILED if is_about_a_server else BAD_INPUT)
