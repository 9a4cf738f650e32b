"""Something happened to a payment: look at it at Stripe, and make the ledger agree."""

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import ActivityError

from activities.attributes import RUNNING, BillingState
from activities.payments import DiscardedPayment, FetchedPayment, PaymentActivities
from activities.stripe import StripeActivities
from billing.parking import Parked, parked_payment
from billing.payment import Payment, Settlement, payment_workflow_id, received
from billing.webhook import PaymentHint
from workflows.collect import collect_waiting
from workflows.options import BILLING_QUEUE, DATABASE, PATIENT, PROVIDER, StartOptions
from workflows.parking import Parking
from workflows.reach import start_or_tell
from workflows.recharging import recharge_again


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
        self._wake = True

    @workflow.run
    async def run(self, hint: PaymentHint) -> Settlement | None:
        """Fetch and post until nothing new was heard meanwhile; park on what does not fit."""
        self._hints.append(hint.key)
        settlement = await self.until_settled(lambda: self._look(hint.payment_id))
        while settlement is not None and self._hints:
            settlement = await self.until_settled(lambda: self._look(hint.payment_id))
        if settlement is None:
            await workflow.execute_activity_method(
                PaymentActivities.discard_payment,
                DiscardedPayment(hint.payment_id, self.discarded_by),
                **PATIENT,
            )
            await self.close(BillingState.DISCARDED)
            return None
        await self.close(BillingState.SETTLED, settlement.org_id, received(settlement.payment))
        return settlement

    async def _look(self, payment_id: str) -> Settlement | Parked:
        """Look once. The hints heard before the payment was fetched are answered by it."""
        heard = tuple(self._hints)
        payment = await self._fetch(payment_id, heard)
        self.found_owner(payment.owner)
        settlement = await workflow.execute_activity_method(
            PaymentActivities.settle_payment,
            FetchedPayment(payment, heard),
            summary="post what is due",
            **DATABASE,
        )
        self._hints = self._hints[len(heard) :]
        if settlement.postings and settlement.org_id is not None:
            await collect_waiting(settlement.org_id)
        if settlement.recharges and settlement.org_id is not None:
            await recharge_again(settlement.org_id, f"{payment_id} was settled")
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
            await workflow.execute_activity_method(
                PaymentActivities.take_over, heard, summary="wait in the inbox's place", **DATABASE
            )
            self._hints = self._hints[len(heard) :]
            raise


def start_options(payment_id: str) -> StartOptions:
    """Say how a payment's process is started: again and again, but one at a time."""
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
    await start_or_tell(SettlePayment.run, hint, options, SettlePayment.look_again, hint)
