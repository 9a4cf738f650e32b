"""Fields that many requests have: ids, names, texts and moments."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field

# What an id may be. PostgreSQL cannot even search for a text with a NUL in it.
NAME = r"^[\x21-\x7e]{1,200}$"
WORKFLOW_ID = r"^[\x21-\x7e]{1,1000}$"
REASON = r"^[a-z_]{1,100}$"
PROCESS = r"^[A-Za-z]{1,100}$"
NOT_BLANK = r"^[^\x00]*[^\s\x00][^\x00]*$"
Text = Annotated[str, Field(min_length=1, max_length=500, pattern=NOT_BLANK)]
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


def _in_utc(moment: datetime) -> datetime:
    """Return a moment in UTC, so that a repeated request is the same whatever offset it names."""
    if not _EARLIEST <= moment <= _LATEST:
        raise ValueError("must be between the years 2000 and 2100")
    return moment.astimezone(UTC)


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
