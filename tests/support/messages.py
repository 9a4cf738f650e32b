"""Hand messages to their workflows as the API does, and read what became of them."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowHandle

from billing.inbox.webhook_event import Drain, Source, WebhookEvent
from billing.ledger.entry import message_key
from billing.messages.message import MessageBill, MessageRecord, MessageStatus, SeenMessage
from devstack.providers.twilio.messages import ACCOUNT_SID
from processes.drains import nudge
from store.ledger import ledger
from store.messages import message_records
from tests.support.eventually import eventually
from tests.support.inbox_events import accept, is_handled
from tests.support.stand_ins import TwilioStandIn
from workflows import bill_message
from workflows.bill_message import BillMessage

Handle = WorkflowHandle[Any, MessageBill]


def seen_message(sid: str, status: str, error_code: int | None = None) -> SeenMessage:
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
        facts=one,
    )


async def report_statuses(temporal: Client, sid: str, *statuses: str) -> Handle:
    """Let callbacks arrive, one after another; return the message's workflow."""
    for status in statuses:
        news = seen_message(sid, status, 30003 if status == "undelivered" else None)
        handle = await temporal.start_workflow(
            BillMessage.run,
            news,
            start_signal="news",
            start_signal_args=[news],
            **bill_message.start_options(sid),
        )
    return handle


async def a_message(twilio: TwilioStandIn, sender: str | None, status: str, **how: Any) -> str:
    """Send a message that has this status at Twilio, without a callback; return its id."""
    sid = await twilio.sends(sender, **how)
    await twilio.becomes(sid, status, drop=True)
    return sid


async def drain_messages_of(temporal: Client, engine: AsyncEngine, *events: WebhookEvent) -> None:
    """Put these into the inbox, nudge the drain, and wait until they have had their effect."""
    await accept(engine, *events)
    await nudge(temporal, Drain.MESSAGES)
    await eventually(lambda: is_handled(engine, *events))


async def is_charged(engine: AsyncEngine, sid: str) -> bool:
    async with engine.connect() as connection:
        return bool(await ledger.by_keys(connection, [message_key(sid)]))


async def record_of(engine: AsyncEngine, sid: str) -> MessageRecord:
    async with engine.connect() as connection:
        return await message_records.read(connection, sid)
