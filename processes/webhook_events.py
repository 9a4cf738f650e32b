"""From a webhook to the process that sees to it: the facts that it came with say which."""

from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from billing.calls.call import EndedCall
from billing.inbox.webhook_event import ObjectHint, PaymentHint, SessionHint, WebhookEvent
from billing.messages.message import SeenMessage
from workflows import bill_call, bill_message, find_payment, settle_payment
from workflows.bill_call import BillCall
from workflows.bill_message import BillMessage
from workflows.find_payment import FindPayment
from workflows.settle_payment import SettlePayment
from workflows.shared.options import StartOptions


async def start(temporal: Client, event: WebhookEvent) -> bool:
    """Start the process of an event that waits, or signal it; False if the event is no news.

    Raise one of TEMPORAL_GONE.
    """
    match event.facts:
        case EndedCall() as call:
            return await _bill(temporal, call)
        case SeenMessage() as seen:
            await _hear_of(temporal, seen)
        case (PaymentHint() as hint) | SessionHint(payment=PaymentHint() as hint):
            await _look_at(temporal, hint)
        case ObjectHint() as named:
            return await _find_payment(temporal, named)
        case _:
            raise ValueError(f"nothing follows from event {event.key}")
    return True


async def _bill(temporal: Client, call: EndedCall) -> bool:
    """Start the process of a call; False when it has, or had, one, which then hears of it."""
    options = bill_call.start_options(call)
    try:
        await temporal.start_workflow(BillCall.run, call, **options)
    except WorkflowAlreadyStartedError:
        await _bill_or_tell(temporal, call, options)
        return False
    return True


async def _bill_or_tell(temporal: Client, call: EndedCall, options: StartOptions) -> None:
    """Tell the process that runs; begin it anew if it has ended, for it knew of no report.

    It may be started, or end, between the two: so try until one succeeds.
    """
    options["id_reuse_policy"] = WorkflowIDReusePolicy.ALLOW_DUPLICATE
    while not await _tell(temporal, call, options["id"]):
        try:
            await temporal.start_workflow(BillCall.run, call, **options)
        except WorkflowAlreadyStartedError:
            continue
        return


async def _tell(temporal: Client, call: EndedCall, workflow_id: str) -> bool:
    """Tell the process of a call what is new, and wake it up; False if none runs."""
    handle = temporal.get_workflow_handle(workflow_id)
    try:
        await handle.signal(BillCall.news, call)
        await handle.signal(BillCall.wake_up, "its report has come")
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


async def _hear_of(temporal: Client, seen: SeenMessage) -> None:
    """Have a status taken into account by the process of its message, whether it runs or not."""
    await temporal.start_workflow(
        BillMessage.run,
        seen,
        start_signal="news",
        start_signal_args=[seen],
        **bill_message.start_options(seen.sid),
    )


async def _find_payment(temporal: Client, named: ObjectHint) -> bool:
    """Have the payment of an object found; False if that is under way."""
    try:
        await temporal.start_workflow(FindPayment.run, named, **find_payment.start_options(named))
    except WorkflowAlreadyStartedError:
        return False
    return True


async def _look_at(temporal: Client, hint: PaymentHint) -> None:
    """Have a payment looked at after this moment, whether its process runs or not.

    The hint is in the signal, which reaches a process that runs as well as one that this starts.
    """
    await temporal.start_workflow(
        SettlePayment.run,
        PaymentHint(hint.payment_id),
        start_signal="look_again",
        start_signal_args=[hint],
        **settle_payment.start_options(hint.payment_id),
    )
