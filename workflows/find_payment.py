"""A thin event of Stripe's names an object: find its payment, and have that looked at."""

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import ActivityError

from activities.payments.payments import LedEvent, PaymentActivities
from activities.payments.stripe import FoundPayment, StripeActivities
from activities.temporal.search_attributes import RUNNING, BillingState
from billing.inbox.webhook_event import ObjectHint, PaymentHint
from workflows.checkout import WORKFLOW_PREFIX, Checkout
from workflows.settle_payment import look_again_at
from workflows.shared.options import BILLING_QUEUE, DATABASE, PATIENT, PROVIDER, StartOptions
from workflows.shared.parking import Parking
from workflows.shared.start_or_signal import signal, start


@workflow.defn
class FindPayment(Parking):
    """One thin event, from the object that it names to the payment that this is of."""

    @workflow.run
    async def run(self, hint: ObjectHint) -> str | None:
        """Return the payment; None if the object is of none, or a person gave the event up."""
        found = await self.until_settled(lambda: self._found(hint))
        if found is None:
            await self._take_over(hint.key, "it is given up")
            await self.close(BillingState.DISCARDED)
            return None
        if found.opened_by is not None and found.opened_by.startswith(WORKFLOW_PREFIX):
            await signal(found.opened_by, Checkout.look_again, hint.key)
        if found.payment_id is None:
            await self._take_over(hint.key, "nothing follows from it")
        else:
            await self._hand_on(hint.key, found.payment_id)
        await self.close(BillingState.SETTLED)
        return found.payment_id

    async def _take_over(self, key: str, why: str) -> None:
        """Mark the event, so that the inbox does not begin this again."""
        await workflow.execute_activity_method(
            PaymentActivities.take_over, (key,), summary=why, **PATIENT
        )

    async def _hand_on(self, key: str, payment_id: str) -> None:
        """Have the payment looked at by its own process, which answers the event."""
        await workflow.execute_activity_method(
            PaymentActivities.note_payment,
            LedEvent(key, payment_id),
            summary=f"it is about {payment_id}",
            **PATIENT,
        )
        await look_again_at(PaymentHint(payment_id, key))

    async def _found(self, hint: ObjectHint) -> FoundPayment:
        """Read the object; when that fails this workflow waits, and the inbox need not."""
        try:
            return await workflow.execute_activity_method(
                StripeActivities.find_payment,
                hint,
                summary=f"read {hint.object_type} at Stripe",
                **PROVIDER,
            )
        except ActivityError:
            await workflow.execute_activity_method(
                PaymentActivities.take_over,
                (hint.key,),
                summary="wait in the inbox's place",
                **DATABASE,
            )
            raise


def start_options(hint: ObjectHint) -> StartOptions:
    """Return how the process of a thin event is started: again if need be, but one at a time."""
    return StartOptions(
        id=hint.workflow_id,
        task_queue=BILLING_QUEUE,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        static_summary=f"Find the payment of {hint.object_type} {hint.object_id[:120]}",
        search_attributes=RUNNING,
    )


async def find_payment_of(hint: ObjectHint) -> None:
    """Have the payment of an object found, unless that is under way."""
    await start(FindPayment.run, hint, start_options(hint))
