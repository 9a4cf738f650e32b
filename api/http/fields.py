"""Fields that many requests have: ids, names, texts, numbers and moments.

Numbers are strict: `true`, "10" and "1_0" are no amounts.
"""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

from billing.text import is_plain

# What an id may be. PostgreSQL cannot even search for a text with a NUL in it.
NAME = r"^[\x21-\x7e]{1,200}$"
WORKFLOW_ID = r"^[\x21-\x7e]{1,1000}$"
REASON = r"^[a-z_]{1,100}$"
PROCESS = r"^[A-Za-z]{1,100}$"
NOT_BLANK = r"^[^\x00]*[^\s\x00][^\x00]*$"
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def _plain(text: str) -> str:
    if not is_plain(text):
        raise ValueError("must be one line without control, bidi and invisible characters")
    return text


def _plainly_written(number: object) -> object:
    if isinstance(number, bool) or (isinstance(number, str) and not _NUMBER.fullmatch(number)):
        raise ValueError('must be a number, such as 90.5 or "90.5"')
    return number


# The last of what a text is held to.
Plain = AfterValidator(_plain)
Text = Annotated[str, Field(min_length=1, max_length=500, pattern=NOT_BLANK), Plain]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$"), Plain]
# The last of what a Decimal is held to.
Number = BeforeValidator(_plainly_written)
_WRITTEN = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}.*")
_DIGITS = re.compile(r"-?[0-9]+")
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


def _in_utc(moment: datetime) -> datetime:
    """Return a moment in UTC, so that a repeated request is the same whatever offset it names."""
    if not _EARLIEST <= moment <= _LATEST:
        raise ValueError("must be between the years 2000 and 2100")
    return moment.astimezone(UTC)


def _written_out(moment: object) -> object:
    """Return a moment unless it is a number: nobody can tell seconds from milliseconds."""
    if not isinstance(moment, datetime) and not (
        isinstance(moment, str) and _WRITTEN.fullmatch(moment)
    ):
        raise ValueError("must be written as in 2026-11-02T12:00:00Z")
    return moment


def _in_digits(number: object) -> object:
    if isinstance(number, str) and not _DIGITS.fullmatch(number):
        raise ValueError("must be a whole number, such as 50")
    return number


Moment = Annotated[AwareDatetime, BeforeValidator(_written_out), AfterValidator(_in_utc)]
# The last of what an integer in a path or query is held to: "1_0", "+1" and "1.0" are none.
Digits = BeforeValidator(_in_digits)
