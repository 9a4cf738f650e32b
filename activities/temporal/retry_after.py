"""Retry when a provider says so, by its `Retry-After` header."""

from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus

import httpx
from temporalio.exceptions import ApplicationError

_LONGEST = timedelta(minutes=5)
# More of them than this say no more than that it is long.
_MOST_DIGITS = 9
RATE_LIMITED = "rate_limited"


def retry_after(headers: Mapping[str, str] | None, message: str) -> ApplicationError:
    """Return a fault that Temporal retries when the `Retry-After` header says (in seconds).

    The delay is five minutes at most. Without the header, or with a date in it, the activity's
    retry policy decides.
    """
    seconds = {name.lower(): value for name, value in (headers or {}).items()}.get(
        "retry-after", ""
    )
    is_number = seconds.isascii() and seconds.isdigit()
    longest = int(_LONGEST.total_seconds())
    delay = timedelta(seconds=min(int(seconds[:_MOST_DIGITS]), longest)) if is_number else None
    return ApplicationError(message, type=RATE_LIMITED, next_retry_delay=delay)


def require_success(answer: httpx.Response, provider: str) -> None:
    """Raise a fault for any other answer; a 429 is tried again when the provider says."""
    if answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:
        raise retry_after(answer.headers, f"{provider} answered 429 Too Many Requests")
    answer.raise_for_status()
