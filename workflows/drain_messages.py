"""The batch lane of messages, and the net under the other one: apart, because it asks Twilio."""

import asyncio

from temporalio import workflow

from activities.messages.message_batches import MessageLane
from billing.inbox.webhook_event import Drain, DrainedMessages
from workflows.bill_message import hear_of
from workflows.shared.collection_requests import collect_waiting
from workflows.shared.drain import DrainProcess
from workflows.shared.options import DRAIN_MESSAGES
from workflows.shared.recharge_requests import recharge_short

WORKFLOW_ID = Drain.MESSAGES
SUMMARY = "Settle what the inbox has about messages; sweep up what was never started"


@workflow.defn
class DrainMessages(DrainProcess[DrainedMessages]):
    """Settle messages in batches: calls do not wait for Twilio, and messages not for calls."""

    @workflow.run
    async def run(self) -> None:
        """Drain for ever."""
        await self.drain_for_ever()

    async def settle(self) -> DrainedMessages:
        """Settle what is due."""
        return await workflow.execute_activity_method(
            MessageLane.drain_messages, summary="settle what is due", **DRAIN_MESSAGES
        )

    async def hand_over(self, drained: DrainedMessages) -> None:
        """Have each heard of by its own workflow, and each wallet that is short recharged."""
        await asyncio.gather(
            *(hear_of(seen) for seen in drained.messages),
            *(recharge_short(org_id) for org_id in drained.short),
            *(collect_waiting(org_id) for org_id in drained.richer),
        )
