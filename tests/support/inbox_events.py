"""Put webhooks into the inbox as the API does, and wait for their effect."""

from collections.abc import Iterable

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from billing.calls.call import EndedCall
from billing.inbox.webhook_event import (
    END_OF_CALL,
    Drain,
    ObjectHint,
    PaymentHint,
    Source,
    WebhookEvent,
    call_event_key,
)
from processes.drains import nudge
from store.inbox import inbox
from tests.support.eventually import eventually


def report_of(call: EndedCall, due_in_seconds: float = 0.0) -> WebhookEvent:
    key = call_event_key(call.call_id, END_OF_CALL)
    return WebhookEvent(
        Source.VAPI, key, END_OF_CALL, call.call_id, "{}", due_in_seconds=due_in_seconds, facts=call
    )


def event_of(hint: PaymentHint, due_in_seconds: float = 0.0) -> WebhookEvent:
    return WebhookEvent(
        Source.STRIPE,
        hint.key,
        "payment_intent.succeeded",
        hint.payment_id,
        "{}",
        due_in_seconds=due_in_seconds,
        facts=hint,
    )


def thin_event_of(hint: ObjectHint, due_in_seconds: float = 0.0) -> WebhookEvent:
    return WebhookEvent(
        Source.STRIPE,
        hint.key,
        "v1.charge.refunded",
        hint.object_id,
        "{}",
        due_in_seconds=due_in_seconds,
        facts=hint,
    )


async def accept(engine: AsyncEngine, *events: WebhookEvent) -> None:
    async with engine.begin() as connection:
        await inbox.accept(connection, events)


async def is_handled(engine: AsyncEngine, *events: WebhookEvent) -> bool:
    return {status for status, _ in await _standings(engine, events)} == {"handled"}


async def is_handed_over(engine: AsyncEngine, *events: WebhookEvent) -> bool:
    """Return whether a batch has left them to others, for a while."""
    return set(await _standings(engine, events)) == {("waiting", True)}


async def drain(worker: Client, engine: AsyncEngine, *events: WebhookEvent) -> None:
    """Put these into the inbox, nudge the drain, and wait until they have had their effect."""
    await accept(engine, *events)
    await nudge(worker, Drain.INBOX)
    await eventually(lambda: is_handled(engine, *events))


async def _standings(engine: AsyncEngine, events: Iterable[WebhookEvent]) -> list[tuple[str, bool]]:
    """Read the status of each, and whether it is due later than now."""
    query = text("SELECT status, due_at > now() FROM webhook_events WHERE key = ANY(:keys)")
    async with engine.connect() as connection:
        found = await connection.execute(query, {"keys": [event.key for event in events]})
    return [(status, later) for status, later in found]
