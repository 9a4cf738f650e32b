"""Webhooks that arrived, and what became of each. Personal data in them is never shown."""

from dataclasses import replace
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Path, Query, Request

from api.dependencies import SEES_ALL, KeyFirst, Limit, Transaction
from api.http.fields import NAME, Digits, Moment
from api.http.pages import Page, Position
from api.http.problems import documented
from api.services import Services
from billing.inbox.lookup import Received, ReceivedEvent, ReceivedFilter
from billing.inbox.webhook_event import EventStatus, Source
from store.inbox import lookup

router = APIRouter(
    route_class=KeyFirst,
    prefix="/v1/webhook-events",
    tags=["webhooks"],
    responses=documented(401, 403, 422, 503),
)
# Long enough for a key, which is made of two names and a digest.
_KEY = r"^[\x21-\x7e]{1,450}$"


async def which(
    *,
    source: Source | None = None,
    subject: Annotated[
        str | None, Query(pattern=NAME, description="A call, message or payment id")
    ] = None,
    key: Annotated[str | None, Query(pattern=_KEY, description="As the answer named it")] = None,
    type: Annotated[str | None, Query(pattern=NAME)] = None,  # noqa: A002
    status: EventStatus | None = None,
    received_after: Moment | None = None,
    received_before: Moment | None = None,
) -> ReceivedFilter:
    """Return the filter that the query asks for."""
    return ReceivedFilter(source, subject, key, type, status, received_after, received_before)


@router.get("", dependencies=[Depends(SEES_ALL)])
async def list_all(
    which: Annotated[ReceivedFilter, Depends(which)],
    transaction: Transaction,
    cursor: Position = None,
    limit: Limit = 50,
) -> Page[ReceivedEvent]:
    """List webhooks, newest first.

    By `key` or `subject`, and those that wait, they are found among all; of a call that is its
    report, unless another `type` is asked for. By anything else 10,000 are looked at for a page:
    one with few, or none, may still have a `next_cursor`. `received_before` begins there.
    """
    found = await lookup.page(transaction, which, cursor, limit)
    further = None if found.further is None else str(found.further)
    return Page(items=list(found.items), next_cursor=further)


@router.get("/{event_id}", dependencies=[Depends(SEES_ALL)], responses=documented(404))
async def read(
    event_id: Annotated[int, Path(ge=1, le=2**63 - 1), Digits],
    transaction: Transaction,
    request: Request,
) -> Received:
    """Say what a webhook told of its call or message, and what has come of it so far."""
    found = await lookup.read(transaction, event_id)
    workflows_url = Services.of(request).workflows_url
    if workflows_url is None or found.workflow_id is None:
        return found
    return replace(found, workflow_url=f"{workflows_url}/{quote(found.workflow_id, safe='')}")
