"""Messages on their way, as the API hands them to their workflows."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowHandle

from billing.ledger import message_key
from billing.message import MessageBill, MessageRecord, MessageStatus, SeenMessage
from billing.webhook import Source, WebhookEvent
from devstack.providers.twilio_messages import ACCOUNT_SID
from store import ledger, message_records
from tests.stand_ins import TwilioStandIn
from tests.waiting import eventually
from tests.workflows.webhooks import accept, is_handled
from workflows import bill_message
from workflows.bill_message import BillMessage
from workflows.namespace import nudge_message_drain

Handle = WorkflowHandle[Any, MessageBill]


def seen(sid: str, status: str, error_code: int | None = None) -> SeenMessage:
    key = f"{sid}:{status}"
    return SeenMessage(sid, ACCOUNT_SID, MessageStatus(status), error_code, key)


def callback_of(one: SeenMessage, due_in_seconds: float = 0.0) -> WebhookEvent:
    return WebhookEvent(
        Source.TWILIO,
        one.key,
        one.status,
        one.sid,
        "MessageSid=…",
        due_in_seconds=due_in_seconds,
        message=one,
    )


async def tell(temporal: Client, sid: str, *statuses: str) -> Handle:
    """Have callbacks arrive, one after another; answers with the message's workflow."""
    for status in statuses:
        news = seen(sid, status, 30003 if status == "undelivered" else None)
        handle = await temporal.start_workflow(
            BillMessage.run,
            news,
            start_signal="news",
            start_signal_args=[news],
            **bill_message.start_options(sid),
        )
    return handle


async def a_message(twilio: TwilioStandIn, sender: str | None, status: str, **how: Any) -> str:
    """A message that has come this far at Twilio; nobody was told."""
    sid = await twilio.sends(sender, **how)
    await twilio.becomes(sid, status, drop=True)
    return sid


async def drain_messages_of(temporal: Client, engine: AsyncEngine, *events: WebhookEvent) -> None:
    """Let these come by the batch lane, and wait until they have had their effect."""
    await accept(engine, *events)
    await nudge_message_drain(temporal)
    await eventually(lambda: is_handled(engine, *events))


async def is_charged(engine: AsyncEngine, sid: str) -> bool:
    async with engine.connect() as connection:
        return bool(await ledger.by_keys(connection, [message_key(sid)]))


async def record_of(engine: AsyncEngine, sid: str) -> MessageRecord:
    async with engine.connect() as connection:
        return await message_records.read(connection, sid)
