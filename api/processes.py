"""Start and signal processes from the API."""

from temporalio.client import Client
from temporalio.exceptions import WorkflowAlreadyStartedError

from api.problems import TEMPORAL_GONE, TemporalUnavailable
from billing.call import Collection, EndedCall
from billing.webhook import PaymentHint
from workflows import bill_call, collect, settle_payment
from workflows.bill_call import BillCall
from workflows.collect import Collect
from workflows.settle_payment import SettlePayment


async def bill(temporal: Client, call: EndedCall) -> bool:
    """Start the process of a call; False when it has (had) one."""
    try:
        await temporal.start_workflow(BillCall.run, call, **bill_call.start_options(call))
    except WorkflowAlreadyStartedError:
        return False
    return True


async def look_at_payment(temporal: Client, hint: PaymentHint) -> bool:
    """Have a payment looked at after this moment, whether its process runs or not."""
    await temporal.start_workflow(
        SettlePayment.run,
        hint,
        start_signal="look_again",
        start_signal_args=[hint],
        **settle_payment.start_options(hint.payment_id),
    )
    return True


async def collect_waiting(temporal: Client, org_id: str, why: str) -> None:
    """Have the calls that wait for an organisation looked at after this moment.

    Raises TemporalUnavailable; the same request again tells it again.
    """
    try:
        await temporal.start_workflow(
            Collect.run,
            Collection(org_id),
            start_signal="again",
            start_signal_args=[why],
            **collect.start_options(org_id),
        )
    except TEMPORAL_GONE as gone:
        raise TemporalUnavailable(
            f"{why}, but Temporal does not answer; send the same again to have it act on that"
        ) from gone
