"""What the commands about parked work have in common: options, and how they end."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeVar

import typer

from api.problems import DATABASE_GONE, TemporalUnavailable
from billing.errors import BillingError
from cli import showing
from wiring import Settings

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
Answer = TypeVar("Answer")


def _age(written: str) -> timedelta:
    """Read how long: 90s, 30m, 2h, 3d."""
    read = re.fullmatch(r"(\d{1,5})([smhd])", written.strip())
    if read is None:
        raise typer.BadParameter(f"{written!r} is no age (90s, 30m, 2h, 3d)")
    count, unit = read.groups()
    return timedelta(**{_UNITS[unit]: int(count)})


Org = Annotated[str | None, typer.Option(help="Of this organisation only.")]
Reason = Annotated[str | None, typer.Option(help="Parked for this reason only (`fault`, …).")]
Process = Annotated[
    str | None, typer.Option(help="Of this process only (`BillCall`, `SettlePayment`, …).")
]
OlderThan = Annotated[
    timedelta | None,
    typer.Option(parser=_age, metavar="AGE", help="Parked for longer than this (30m, 2h, 3d)."),
]
Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


def now() -> datetime:
    """Say what time it is here; ages are told to a minute."""
    return datetime.fromtimestamp(time.time(), UTC)


def run(ask: Callable[[Settings], Awaitable[Answer]], when_interrupted: str) -> Answer:
    """Ask; whatever refuses or does not answer is said, and ends the command with a status."""

    async def asking() -> Answer:
        return await ask(Settings())

    try:
        return asyncio.run(asking())
    except (BillingError, *DATABASE_GONE) as error:
        raise _told(error) from error
    except KeyboardInterrupt as interrupt:
        showing.complain(when_interrupted)
        raise typer.Exit(INTERRUPTED) from interrupt


def _told(error: Exception) -> typer.Exit:
    """Say what went wrong: what was asked for cannot be, or something is away."""
    if isinstance(error, DATABASE_GONE):
        showing.complain(f"PostgreSQL does not answer ({type(error).__name__}).")
    else:
        showing.complain(f"{error}.")
    refused = isinstance(error, BillingError) and not isinstance(error, TemporalUnavailable)
    return typer.Exit(BAD_INPUT if refused else FAILED)
