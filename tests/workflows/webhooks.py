"""Webhooks as the API leaves them: in the inbox, waiting for their effect."""

from collections.abc import Iterable

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from billing.call import EndedCall
from billing.webhook import END_OF_CALL, PaymentHint, Source, WebhookEvent, call_event_key
from store import inbox
from tests.waiting import eventually
from workflows.namespace import nudge_drain


def report_of(call: EndedCall, due_in_seconds: float = 0.0) -> WebhookEvent:
    key = call_event_key(call.call_id, END_OF_CALL)
    return WebhookEvent(
        Source.VAPI, key, END_OF_CALL, call.call_id, "{}", due_in_seconds=due_in_seconds, call=call
    )


def event_of(hint: PaymentHint, due_in_seconds: float = 0.0) -> WebhookEvent:
    return WebhookEvent(
        Source.STRIPE,
        hint.key,
        "payment_intent.succeeded",
        hint.payment_id,
        "{}",
        due_in_seconds=due_in_seconds,
    )


async def accept(engine: AsyncEngine, *events: WebhookEvent) -> None:
    async with engine.begin() as connection:
        await inbox.accept(connection, events)


async def is_handled(engine: AsyncEngine, *events: WebhookEvent) -> bool:
    return {status for status, _ in await _standings(engine, events)} == {"handled"}


async def is_handed_over(engine: AsyncEngine, event: WebhookEvent) -> bool:
    """Whether a batch has left it to a workflow of its own, for a while."""
    return await _standings(engine, [event]) == [("waiting", True)]


async def drain(worker: Client, engine: AsyncEngine, *events: WebhookEvent) -> None:
    """Let these come by the batch lane, and wait until they have had their effect."""
    await accept(engine, *events)
    await nudge_drain(worker)
    await eventually(lambda: is_handled(engine, *events))


async def _standings(engine: AsyncEngine, events: Iterable[WebhookEvent]) -> list[tuple[str, bool]]:
    """The status of each, and whether it is due only later."""
    query = text("SELECT status, due_at > now() FROM webhook_events WHERE key = ANY(:keys)")
    async with engine.connect() as connection:
        found = await connection.execute(query, {"keys": [event.key for event in events]})
    return [(status, later) for status, later in found]
