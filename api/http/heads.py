"""How large the head of a request may be."""

from collections.abc import Iterable
from typing import Any

from billing.errors import BillingError

LARGEST_HEAD = 32 * 1024


class HeadTooLarge(BillingError):
    """The head is larger than any that a real client sends."""

    code = "head_too_large"
    status = 431
    title = "The head of the request is too large"

    def __init__(self) -> None:
        super().__init__(f"it may have {LARGEST_HEAD} bytes at most")


def size_of(url: bytes, headers: Iterable[tuple[Any, ...]]) -> int:
    """Return how long a head is as it was sent: each header has a colon and an end of line."""
    return len(url) + sum(len(name) + len(value) + 4 for name, value in headers)
