"""A message is discarded or charged, never both, also if nothing could be written of it before."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import ActivityEnvironment

from activities.messages.messages import MessageActivities
from billing.messages.message import (
    DiscardedMessage,
    MessageBill,
    MessageNews,
    MessageRef,
    MessageState,
    MessageStatus,
    SeenMessage,
)
from billing.platform_rules import PlatformRules
from tests.support.factories import a_sid

ANN = "Ann: a test message"
ACCOUNT = "AC1"


def heard(sid: str, status: MessageStatus) -> SeenMessage:
    return SeenMessage(sid, ACCOUNT, status)


async def bill(engine: AsyncEngine, *seen: SeenMessage) -> MessageBill:
    news = MessageNews(MessageRef(seen[0].sid, ACCOUNT), seen)
    return await ActivityEnvironment().run(
        MessageActivities(engine, PlatformRules()).bill_message, news
    )


async def discard(engine: AsyncEngine, seen: SeenMessage) -> bool:
    decision = DiscardedMessage(seen.sid, ANN, seen)
    return await ActivityEnvironment().run(
        MessageActivities(engine, PlatformRules()).discard_message, decision
    )


@pytest.mark.parametrize("status", [MessageStatus.QUEUED, MessageStatus.SENT])
async def test_a_message_that_was_never_written_down_is_discarded_and_stays_so(
    engine: AsyncEngine, status: MessageStatus
) -> None:
    seen = heard(a_sid(), status)
    assert await discard(engine, seen)
    assert (await bill(engine, seen)).state is MessageState.DISCARDED
    delivered = heard(seen.sid, MessageStatus.DELIVERED)
    assert (await bill(engine, delivered)).state is MessageState.DISCARDED
