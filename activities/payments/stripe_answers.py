"""What Stripe's answers have in common: ids, times, and what its refusals to answer say."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from stripe import (
    AuthenticationError,
    PermissionError,  # noqa: A004
    RateLimitError,
    StripeError,
)

from activities.temporal.retry_after import retry_after
from billing.errors import KeyRefused

# Of a list.
LARGEST_PAGE = 100


def moment(seconds: int) -> datetime:
    """Read a time."""
    return datetime.fromtimestamp(seconds, UTC)


def id_of(reference: Any) -> str | None:
    """Read the id of what Stripe may have expanded."""
    return reference if reference is None or isinstance(reference, str) else str(reference.id)


def is_replayed(failure: StripeError) -> bool:
    """Return whether Stripe has stored this failure, and repeats it as long as it knows the key."""
    headers = {name.lower(): value for name, value in (failure.headers or {}).items()}
    return headers.get("idempotent-replayed") == "true"


@contextmanager
def asking_stripe() -> Iterator[None]:
    """Where Stripe is asked too often, raise a fault that is tried again when Stripe says.

    Raise KeyRefused for a 401 or 403: whatever is asked for, the key is wrong, revoked, or lacks a
    permission. That is nobody's fault but ours, and operators hear of it at once.
    """
    try:
        yield
    except RateLimitError as limited:
        raise retry_after(limited.headers, str(limited)) from limited
    except (AuthenticationError, PermissionError) as refused:
        raise KeyRefused(f"Stripe answers {refused.http_status}: {refused}") from refused
