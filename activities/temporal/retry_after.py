"""Retry when a provider says so, by its `Retry-After` header."""

from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus

import httpx
from temporalio.exceptions import ApplicationError

_LONGEST = timedelta(minutes=5)


def retry_after(headers: Mapping[str, str] | None, message: str) -> ApplicationError:
    """Return a fault that Temporal retries when the `Retry-After` header says (in seconds).

    The delay is five minutes at most. Without the header, or with a date in it, the activity's
    retry policy decides.
    """
    seconds = {name.lower(): value for name, value in (headers or {}).items()}.get(
        "retry-after", ""
    )
    delay = min(timedelta(seconds=int(seconds)), _LONGEST) if seconds.isdigit() else None
    return ApplicationError(message, type="rate_limited", next_retry_delay=delay)


def require_success(answer: httpx.Response, provider: str) -> None:
    """Raise a fault for any other answer; a 429 is tried again when the provider says."""
    if answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:
        raise retry_after(answer.headers, f"{provider} answered 429 Too Many Requests")
    answer.raise_for_status()
