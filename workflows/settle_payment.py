"""Something happened to a payment: look at it at Stripe, and make the ledger agree."""

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import ActivityError

from activities.payments.payments import DiscardedPayment, FetchedPayment, PaymentActivities
from activities.payments.stripe import StripeActivities
from activities.payments.stripe_saved_cards import SavedCards
from activities.temporal.search_attributes import RUNNING, BillingState
from billing.inbox.webhook_event import PaymentHint
from billing.parking.parked import Parked, parked_payment
from billing.payments.payment import Payment, Settlement, payment_workflow_id
from workflows.shared.alert_requests import deliver_alerts
from workflows.shared.collection_requests import collect_waiting
from workflows.shared.options import BILLING_QUEUE, DATABASE, PATIENT, PROVIDER, StartOptions
from workflows.shared.parking import Parking
from workflows.shared.recharge_requests import recharge_again
from workflows.shared.start_or_signal import start_or_signal


@workflow.defn
class SettlePayment(Parking):
    """One payment; as often as it is told to look again, and never twice at once."""

    def __init__(self) -> None:
        super().__init__()
        self._hints: list[str] = []

    @workflow.signal(description="A Stripe event about this payment has arrived.")
    def look_again(self, hint: PaymentHint) -> None:
        """Look (again): what was fetched so far may be older than this event."""
        self._hints.append(hint.key)
        self.wake()

    @workflow.run
    async def run(self, hint: PaymentHint) -> Settlement | None:
        """Fetch and post until nothing new was heard meanwhile; park on what does not fit.

        A webhook starts it with a signal, which has the hint. A process cannot: then the argument
        has it.
        """
        if hint.key:
            self._hints.append(hint.key)
        settlement = await self._until_done(hint.payment_id)
        while self._hints and workflow.patched("hears-while-it-ends"):
            self.go_on()
            self.take_up_again()
            settlement = await self._until_done(hint.payment_id)
        return settlement

    async def _until_done(self, payment_id: str) -> Settlement | None:
        """Post what is due, or give it up; show which."""
        settlement = await self.until_settled(lambda: self._look(payment_id))
        while settlement is not None and self._hints:
            settlement = await self.until_settled(lambda: self._look(payment_id))
        if settlement is None:
            # What was heard by now is given up with it.
            heard, self._hints = tuple(self._hints), []
            await workflow.execute_activity_method(
                PaymentActivities.discard_payment,
                DiscardedPayment(payment_id, self.discarded_by, heard),
                **PATIENT,
            )
            await self.close(BillingState.DISCARDED)
            return None
        state = BillingState.DISCARDED if settlement.given_up else BillingState.SETTLED
        await self.close(state, settlement.org_id, settlement.amount)
        return settlement

    async def _look(self, payment_id: str) -> Settlement | Parked:
        """Look once. The hints heard before the payment was fetched are answered by it."""
        heard = tuple(self._hints)
        payment = await self._fetch(payment_id, heard)
        self.found_owner(payment.owner)
        settlement = await self._settle(payment, heard)
        self._hints = self._hints[len(heard) :]
        self.found_owner(settlement.org_id)
        if settlement.alerted:
            await deliver_alerts()
        if settlement.postings and settlement.org_id is not None:
            await collect_waiting(settlement.org_id)
        if settlement.recharges and settlement.org_id is not None:
            await recharge_again(settlement.org_id, f"{payment_id} was settled")
        if settlement.saves_card and settlement.org_id is not None:
            await workflow.execute_activity_method(
                SavedCards.find_card,
                settlement.org_id,
                summary="make the card that was saved the default",
                **PROVIDER,
            )
        if settlement.mismatch is not None:
            return parked_payment(settlement, settlement.mismatch)
        return settlement

    async def _fetch(self, payment_id: str, heard: tuple[str, ...]) -> Payment:
        """Read the payment; when that fails this workflow waits, and its events need not."""
        try:
            return await workflow.execute_activity_method(
                StripeActivities.fetch_payment, payment_id, summary="read it at Stripe", **PROVIDER
            )
        except ActivityError:
            await self._take_over(heard)
            raise

    async def _settle(self, payment: Payment, heard: tuple[str, ...]) -> Settlement:
        """Post what is due; when that fails this workflow waits, and its events need not."""
        try:
            return await workflow.execute_activity_method(
                PaymentActivities.settle_payment,
                FetchedPayment(payment, heard),
                summary="post what is due",
                **DATABASE,
            )
        except ActivityError:
            if workflow.patched("takes-over-what-it-cannot-post"):
                await self._take_over(heard)
            raise

    async def _take_over(self, heard: tuple[str, ...]) -> None:
        await workflow.execute_activity_method(
            PaymentActivities.take_over, heard, summary="wait in the inbox's place", **DATABASE
        )
        self._hints = self._hints[len(heard) :]


def start_options(payment_id: str) -> StartOptions:
    """Return how a payment's process is started: again and again, but one at a time."""
    return StartOptions(
        id=payment_workflow_id(payment_id),
        task_queue=BILLING_QUEUE,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        static_summary=f"Settle payment {payment_id[:120]}",
        search_attributes=RUNNING,
    )


async def look_again_at(hint: PaymentHint) -> None:
    """See to it that a payment is looked at after this moment."""
    options = start_options(hint.payment_id)
    await start_or_signal(SettlePayment.run, hint, options, SettlePayment.look_again, hint)
