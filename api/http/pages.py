"""Pages of lists; each names the cursor of the next page."""

from collections.abc import Callable, Sequence
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel

from api.http.fields import NAME, Digits

Item = TypeVar("Item")
_LARGEST_ID = 2**63 - 1


class Page(BaseModel, Generic[Item]):
    """A part of a list. `next_cursor` is None on the last page."""

    items: list[Item]
    next_cursor: str | None = None


Position = Annotated[
    int | None,
    Query(alias="cursor", ge=1, le=_LARGEST_ID, description="The last page's next_cursor"),
    Digits,
]
After = Annotated[
    str | None,
    Query(alias="cursor", pattern=NAME, description="The last page's next_cursor"),
]


def page(items: Sequence[Item], limit: int, cursor: Callable[[Item], object]) -> Page[Item]:
    """Return a page of up to `limit` items, out of up to `limit + 1` that were read."""
    kept = list(items[:limit])
    more = len(items) > limit
    return Page(items=kept, next_cursor=str(cursor(kept[-1])) if more else None)
