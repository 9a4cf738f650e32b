"""What every command has in common: how it asks, what it complains of, and how it ends."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
import typer
from pydantic import TypeAdapter
from rich.console import Console
from rich.markup import escape

from billing.errors import BillingError
from processes.errors import TemporalUnavailable
from store.database.errors import DATABASE_GONE, Unusable
from wiring import Settings

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
NOTHING_CHANGED = "Nothing was changed."
ERRORS = Console(stderr=True)
Value = TypeVar("Value")


def run(ask: Callable[[Settings], Awaitable[Value]], when_interrupted: str) -> Value:
    """Return what was asked for; what refuses or does not answer ends the command with a status.

    1: something is away, or did not answer in time. 2: what was asked for cannot be. 130: Ctrl-C,
    after which `when_interrupted` is said.
    """

    # What was asked for is alone on stdout.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

    async def asking() -> Value:
        return await ask(Settings())

    try:
        return asyncio.run(asking())
    except (BillingError, OSError, Unusable, *DATABASE_GONE) as error:
        raise _exit(error) from error
    except KeyboardInterrupt as interrupt:
        complain(when_interrupted)
        raise typer.Exit(INTERRUPTED) from interrupt


def complain(what: str) -> None:
    """Tell the person, on stderr."""
    ERRORS.print(f"[red]callwallet:[/] {escape(what)}", highlight=False, soft_wrap=True)


def print_json(value: object) -> None:
    """Print a value for programs."""
    typer.echo(TypeAdapter(type(value)).dump_json(value, indent=2))


def _exit(error: Exception) -> typer.Exit:
    """Say what went wrong, and return the status to end with."""
    if isinstance(error, DATABASE_GONE):
        complain(f"PostgreSQL does not answer ({type(error).__name__}).")
        return typer.Exit(FAILED)
    complain(f"{error}.")
    is_about_a_server = isinstance(error, TemporalUnavailable | Unusable)
    return typer.Exit(FAILED if is_about_a_server else BAD_INPUT)
