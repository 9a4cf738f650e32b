"""A message is on its way: charge it once Twilio has taken it, give it back if it never arrives."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import ActivityError, is_cancelled_exception

from activities.messages.messages import MessageActivities
from activities.messages.twilio import TwilioActivities
from activities.temporal.search_attributes import RUNNING, BillingState
from billing.messages.message import (
    DiscardedMessage,
    MessageBill,
    MessageNews,
    MessageRef,
    MessageState,
    SeenMessage,
    message_workflow_id,
)
from billing.parking.parked import Parked, parked_message
from workflows.shared.collection_requests import collect_what_it_pays
from workflows.shared.local_first import local_first
from workflows.shared.options import BILLING_QUEUE, PATIENT, PROVIDER, StartOptions
from workflows.shared.parking import Parking
from workflows.shared.recharge_requests import recharge_short
from workflows.shared.start_or_signal import start_or_signal

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
        self.wake()

    @workflow.run
    async def run(self, first: SeenMessage) -> MessageBill:
        """Charge, reverse or wait until nothing more can come; stop when a person gives it up."""
        self._heard.append(first)
        ref = MessageRef(first.sid, first.account_sid)
        bill = await self._until_done(ref, first)
        while self._heard and workflow.patched("hears-while-it-ends"):
            self.go_on()
            self.take_up_again()
            bill = await self._until_done(ref, first)
        return bill

    async def _until_done(self, ref: MessageRef, first: SeenMessage) -> MessageBill:
        """Charge, reverse and wait until it is over, or give it up; show which."""
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
        if _is_to_be_asked_about(bill):
            await self._ask(ref)
            bill = await self._bill(ref)
        return parked_message(bill) if bill.state.waits else bill

    async def _bill(self, ref: MessageRef) -> MessageBill:
        news = MessageNews(ref, tuple(self._heard))
        bill = await local_first(MessageActivities.bill_message, news, "post what is due")
        self._heard = self._heard[len(news.heard) :]
        self.found_owner(bill.org_id)
        if bill.is_short and bill.org_id is not None:
            await recharge_short(bill.org_id)
        if bill.posting is not None and bill.posting.gives and bill.org_id is not None:
            await collect_what_it_pays(bill.org_id)
        return bill

    async def _ask(self, ref: MessageRef) -> None:
        await workflow.execute_activity_method(
            TwilioActivities.fetch_message, ref, summary="ask who sent what", **PROVIDER
        )

    async def _hears_more(self) -> bool:
        """Wait for news; False after a silence."""
        try:
            await workflow.wait_condition(
                lambda: self.is_awake,
                timeout=SILENCE,
                timeout_summary="no final status; asks Twilio",
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
        """Record the decision; a charge that was made in the meantime stands, and is named.

        What was heard by now is given up with it.
        """
        heard, self._heard = tuple(seen.key for seen in self._heard), []
        discarded = await workflow.execute_activity_method(
            MessageActivities.discard_message,
            DiscardedMessage(ref.sid, self.discarded_by, first, heard),
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


def _is_to_be_asked_about(bill: MessageBill) -> bool:
    """Return whether Twilio is asked what is not known; not for what a person has given up.

    It may have been given up because Twilio does not know it. Then it would park once more at each
    status that is heard of late.
    """
    if bill.state is MessageState.DISCARDED and bill.needs_facts:
        return not workflow.patched("leaves-what-is-discarded")
    return bill.needs_facts


def start_options(sid: str) -> StartOptions:
    """Return how a message's process is started: again and again, but one at a time."""
    return StartOptions(
        id=message_workflow_id(sid),
        task_queue=BILLING_QUEUE,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        static_summary=f"Charge message {sid[:120]}",
        search_attributes=RUNNING,
    )


async def hear_of(seen: SeenMessage) -> None:
    """See to it that a status is taken into account by the message's own process."""
    await start_or_signal(BillMessage.run, seen, start_options(seen.sid), BillMessage.news, seen)
