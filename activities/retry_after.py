"""A provider that names a time to come back is believed."""

from collections.abc import Mapping
from datetime import timedelta

from temporalio.exceptions import ApplicationError

_LONGEST = timedelta(minutes=5)


def retry_after(headers: Mapping[str, str] | None, message: str) -> ApplicationError:
    """Make a fault that Temporal retries when the `Retry-After` header says (in seconds).

    Without the header, or with a date in it, the activity's retry policy decides.
    """
    seconds = {name.lower(): value for name, value in (headers or {}).items()}.get(
        "retry-after", ""
    )
    delay = min(timedelta(seconds=int(seconds)), _LONGEST) if seconds.isdigit() else None
    return ApplicationError(message, type="rate_limited", next_retry_delay=delay)
