"""How times are written on the command line."""

import re
from datetime import UTC, datetime, timedelta

import typer

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def age(written: str) -> timedelta:
    """Read how long: 90s, 30m, 2h, 3d."""
    read = re.fullmatch(r"(\d{1,5})([smhd])", written.strip())
    if read is None:
        raise typer.BadParameter(f"{written!r} is no age (90s, 30m, 2h, 3d)")
    count, unit = read.groups()
    return timedelta(**{_UNITS[unit]: int(count)})


def moment(written: str) -> datetime:
    """Read a date or a time; in UTC unless it says otherwise."""
    try:
        read = datetime.fromisoformat(written)
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(
            f"{written!r} is neither a date (2026-11-01) nor a time (2026-11-01T09:30:00Z)"
        ) from error
