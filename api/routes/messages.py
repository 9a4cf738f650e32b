"""Messages: what became of them, what they cost, and how many are delivered."""

import time
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from api.dependencies import Id, KeyFirst, Limit, Member, Reader, Transaction
from api.http.fields import Digits
from api.http.pages import Page, Position, page
from api.http.problems import documented
from billing.errors import NotFound
from billing.messages.delivery_rate import Delivery
from billing.messages.message import MessageRecord, MessageState
from billing.organizations import ApiKey
from store.messages import message_records
from store.organizations import organizations

router = APIRouter(
    route_class=KeyFirst, tags=["messages"], responses=documented(401, 403, 404, 422, 503)
)

_Days = Annotated[
    int, Query(ge=1, le=92, description="How many days (24 hours) back from now"), Digits
]


class DeliverySummary(BaseModel):
    """What became of the messages that were first heard of in a time."""

    since: datetime
    until: datetime
    messages: Delivery


@router.get("/v1/organizations/{org_id}/messages")
async def list_all(
    *,
    org_id: Member,
    key: Reader,
    transaction: Transaction,
    cursor: Position = None,
    limit: Limit = 50,
    state: MessageState | None = None,
) -> Page[MessageRecord]:
    """List an organisation's messages, the last seen first. Numbers and texts are not shown."""
    await organizations.read(transaction, org_id)
    found = await message_records.page(transaction, org_id, cursor, limit + 1, state)
    return page([_shown(one, key) for one in found], limit, lambda message: message.position)


@router.get("/v1/organizations/{org_id}/messages/summary")
async def summarize(org_id: Member, transaction: Transaction, days: _Days = 30) -> DeliverySummary:
    """Say how many of an organisation's messages arrived, of those heard of lately."""
    await organizations.read(transaction, org_id)
    until = datetime.fromtimestamp(time.time(), UTC)
    since = until - timedelta(days=days)
    found = await message_records.delivered(transaction, org_id, since, until)
    return DeliverySummary(since=since, until=until, messages=found)


@router.get("/v1/messages/{sid}")
async def read(sid: Id, key: Reader, transaction: Transaction) -> MessageRecord:
    """Read one message. One of another organisation is as unknown as one that never was."""
    message = await message_records.read(transaction, sid)
    if not key.reaches(message.org_id):
        raise NotFound(f"nothing has been heard of message {sid}")
    return _shown(message, key)


def _shown(message: MessageRecord, key: ApiKey) -> MessageRecord:
    return message if key.is_operators else message.for_organization()
