"""The batch lane, and the net under the other one: whatever waits in the inbox is settled."""

import asyncio

from temporalio import workflow

from activities.inbox.inbox import InboxActivities
from billing.calls.call import EndedCall
from billing.inbox.webhook_event import Drain, Drained
from workflows import bill_call
from workflows.bill_call import BillCall, bill_or_tell
from workflows.find_payment import find_payment_of
from workflows.settle_payment import look_again_at
from workflows.shared.collection_requests import collect_waiting
from workflows.shared.drain import DrainProcess
from workflows.shared.options import DRAIN
from workflows.shared.recharge_requests import recharge_short
from workflows.shared.start_or_signal import start

WORKFLOW_ID = Drain.INBOX
SUMMARY = "Settle the inbox in batches; sweep up what was never started"


@workflow.defn
class DrainInbox(DrainProcess[Drained]):
    """Settle calls in batches, and sweep up calls and payments whose start was lost."""

    @workflow.run
    async def run(self) -> None:
        """Drain for ever."""
        await self.drain_for_ever()

    async def settle(self) -> Drained:
        """Settle what is due."""
        return await workflow.execute_activity_method(
            InboxActivities.drain, summary="settle what is due", **DRAIN
        )

    async def hand_over(self, drained: Drained) -> None:
        """Give each its own workflow; that of a call which has one hears what is new.

        An organisation whose wallet is short is told of once, however many calls found it so.
        """
        await asyncio.gather(
            *(_hand_over(call) for call in drained.calls),
            *(look_again_at(hint) for hint in drained.payments),
            *(find_payment_of(hint) for hint in drained.objects),
            *(recharge_short(org_id) for org_id in drained.short),
            *(collect_waiting(org_id) for org_id in drained.richer),
        )


async def _hand_over(call: EndedCall) -> None:
    if workflow.patched("better-facts"):
        await bill_or_tell(call, f"{WORKFLOW_ID}: there is something new about it")
    else:
        await start(BillCall.run, call, bill_call.start_options(call))
