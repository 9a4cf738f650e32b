"""A message is on its way: charge it once Twilio has taken it, give it back if it never arrives."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import ActivityError, FailureError, is_cancelled_exception

from activities.attributes import RUNNING, BillingState
from activities.messages import MessageActivities
from activities.twilio import TwilioActivities
from billing.message import (
    DiscardedMessage,
    MessageBill,
    MessageNews,
    MessageRef,
    MessageState,
    SeenMessage,
    message_workflow_id,
)
from billing.parking import Parked, parked_message
from workflows.options import AT_ONCE, BILLING_QUEUE, DATABASE, PATIENT, PROVIDER, StartOptions
from workflows.parking import Parking
from workflows.reach import start_or_tell
from workflows.recharging import recharge_short

# Some carriers send no receipt, and callbacks get lost: after so long a silence Twilio is asked.
SILENCE = timedelta(days=1)
# A message can be scheduled for 35 days ahead, and is heard of a few times after that.
MOST_TURNS = 50


@workflow.defn
class BillMessage(Parking):
    """One message; whatever order its callbacks come in, the highest status and the ledger decide.

    It ends with a final status, or when Twilio says after a day of silence that there is none.
    """

    def __init__(self) -> None:
        super().__init__()
        self._heard: list[SeenMessage] = []

    @workflow.signal(description="A status callback about this message has arrived.")
    def news(self, seen: SeenMessage) -> None:
        """Take another status into account."""
        self._heard.append(seen)
        self._wake = True

    @workflow.run
    async def run(self, first: SeenMessage) -> MessageBill:
        """Charge, reverse or wait until nothing more can come; stop when a person gives it up."""
        self._heard.append(first)
        ref = MessageRef(first.sid, first.account_sid)
        bill = await self._until_over(ref) or await self._discard(ref, first)
        given_up = bill.state is MessageState.DISCARDED
        state = BillingState.DISCARDED if given_up else BillingState.SETTLED
        await self.close(state, bill.org_id, bill.charge.amount if bill.charge else None)
        return bill

    async def _until_over(self, ref: MessageRef) -> MessageBill | None:
        """Look, and look again at all news, until it is over; None when a person gave it up."""
        bill = await self.until_settled(lambda: self._attempt(ref))
        for _ in range(MOST_TURNS):
            if bill is None or bill.is_over:
                break
            self.go_on()
            is_last = not await self._hears_more() and await self._asks_for_the_end(ref)
            bill = await self.until_settled(lambda: self._attempt(ref))
            if is_last and bill is not None and bill.status.is_taken:
                break
        return bill

    async def _attempt(self, ref: MessageRef) -> MessageBill | Parked:
        bill = await self._bill(ref)
        if bill.needs_facts:
            await self._ask(ref)
            bill = await self._bill(ref)
        return parked_message(bill) if bill.state.waits else bill

    async def _bill(self, ref: MessageRef) -> MessageBill:
        news = MessageNews(ref, tuple(self._heard))
        bill = await self._bill_at_once(news)
        if bill is None:
            bill = await workflow.execute_activity_method(
                MessageActivities.bill_message, news, summary="post what is due", **DATABASE
            )
        self._heard = self._heard[len(news.heard) :]
        self.found_owner(bill.org_id)
        if bill.is_short and bill.org_id is not None:
            await recharge_short(bill.org_id)
        return bill

    async def _bill_at_once(self, news: MessageNews) -> MessageBill | None:
        """Post without a way through the server; None when that did not work.

        A local activity fails as what it failed with, not as an ActivityError around it.
        """
        try:
            return await workflow.execute_local_activity_method(
                MessageActivities.bill_message, news, **AT_ONCE
            )
        except FailureError as failure:
            if is_cancelled_exception(failure):
                raise
            return None

    async def _ask(self, ref: MessageRef) -> None:
        await workflow.execute_activity_method(
            TwilioActivities.fetch_message, ref, summary="ask who sent what", **PROVIDER
        )

    async def _hears_more(self) -> bool:
        """Wait for news; False after a silence."""
        try:
            await workflow.wait_condition(
                lambda: self._wake, timeout=SILENCE, timeout_summary="no final status; asks Twilio"
            )
        except TimeoutError:
            return False
        return True

    async def _asks_for_the_end(self, ref: MessageRef) -> bool:
        """Ask how it ended; False when Twilio does not answer, and has to be asked again."""
        try:
            await self._ask(ref)
        except ActivityError as failure:
            if is_cancelled_exception(failure):
                raise
            return False
        return True

    async def _discard(self, ref: MessageRef, first: SeenMessage) -> MessageBill:
        """Record the decision; a charge that was made in the meantime stands, and is named."""
        discarded = await workflow.execute_activity_method(
            MessageActivities.discard_message,
            DiscardedMessage(ref.sid, self.discarded_by),
            **PATIENT,
        )
        if discarded:
            return MessageBill(ref.sid, first.status, MessageState.DISCARDED)
        return await workflow.execute_activity_method(
            MessageActivities.bill_message,
            MessageNews(ref),
            summary="name the charge that stands",
            **PATIENT,
        )


def start_options(sid: str) -> StartOptions:
    """Say how a message's process is started: again and again, but one at a time."""
    return StartOptions(
        id=message_workflow_id(sid),
        task_queue=BILLING_QUEUE,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        static_summary=f"Charge message {sid[:120]}",
        search_attributes=RUNNING,
    )


async def hear_of(seen: SeenMessage) -> None:
    """See to it that a status is taken into account by the message's own process."""
    await start_or_tell(BillMessage.run, seen, start_options(seen.sid), BillMessage.news, seen)
