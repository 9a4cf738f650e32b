"""What happens when time passes: faults heal, lost starts are found, the drain begins anew."""

from dataclasses import replace

from temporalio.client import Client, WorkflowExecutionStatus

from billing.calls.call import CallState
from billing.inbox.webhook_event import Drain, PaymentHint
from processes.drains import nudge
from tests.support.eventually import eventually
from tests.support.factories import an_assistant, an_organization, balance_of, ended_call, unique
from tests.support.inbox_events import accept, event_of, is_handled, report_of
from tests.support.parked_workflows import ended, start_bill, tries
from tests.support.stand_ins import StripeStandIn, VapiStandIn
from tests.workflows.conftest import SkippingWorld
from workflows import drain_inbox, settle_payment
from workflows.settle_payment import SettlePayment
from workflows.shared.drain import LONGEST_HISTORY


async def test_a_call_parked_for_a_fault_tries_again_by_itself_and_settles(
    skipping: SkippingWorld, vapi: VapiStandIn
) -> None:
    org_id = await an_organization(skipping.engine)
    call = ended_call(await an_assistant(skipping.engine, org_id))
    await vapi.knows(call)
    await vapi.misbehave(call.call_id, kind="status", status=500, times=6)
    handle = await start_bill(skipping.temporal, replace(call, ended_at=None))
    assert (await ended(handle)).state is CallState.SETTLED
    assert await tries(handle, "fetch_call") == 3
    assert await balance_of(skipping.engine, org_id) == -56


async def test_a_payment_parked_for_a_fault_is_credited_once_stripe_is_back(
    skipping: SkippingWorld, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(skipping.engine)
    payment_id = await stripe.payment(org_id, 2500)
    await stripe.misbehave(payment_id, kind="status", status=503, times=3)
    hint = PaymentHint(payment_id, unique("evt"))
    handle = await skipping.temporal.start_workflow(
        SettlePayment.run, hint, **settle_payment.start_options(payment_id)
    )
    assert await ended(handle) is not None
    assert await tries(handle, "fetch_payment") == 2
    assert await balance_of(skipping.engine, org_id) == 2500


async def test_starts_that_were_lost_are_swept_up_without_a_nudge(
    sweeping: SkippingWorld, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(sweeping.engine)
    call = ended_call(await an_assistant(sweeping.engine, org_id))
    payment_id = await stripe.payment(org_id, 2500)
    lost = (
        report_of(call, due_in_seconds=0.5),
        event_of(PaymentHint(payment_id, unique("evt")), due_in_seconds=0.5),
    )
    await accept(sweeping.engine, *lost)
    await eventually(lambda: is_handled(sweeping.engine, *lost))
    assert await balance_of(sweeping.engine, org_id) == 2500 - 56


async def test_the_drain_begins_anew_before_its_history_grows_long(
    sweeping: SkippingWorld,
) -> None:
    drain = sweeping.temporal.get_workflow_handle(drain_inbox.WORKFLOW_ID)
    first = (await drain.describe()).run_id

    async def began_anew() -> bool:
        now = await drain.describe()
        return now.run_id != first and now.status is WorkflowExecutionStatus.RUNNING

    await eventually(began_anew)
    former = sweeping.temporal.get_workflow_handle(drain_inbox.WORKFLOW_ID, run_id=first)
    assert (await former.describe()).status is WorkflowExecutionStatus.CONTINUED_AS_NEW
    call = ended_call(await an_assistant(sweeping.engine, await an_organization(sweeping.engine)))
    await accept(sweeping.engine, report_of(call))
    await eventually(lambda: is_handled(sweeping.engine, report_of(call)))


async def test_a_drain_that_is_nudged_without_end_keeps_a_history_that_is_quickly_read(
    worker: Client,
) -> None:
    """Whatever Temporal would allow: who has lost its cache reads all of it before it drains."""
    drain = worker.get_workflow_handle(drain_inbox.WORKFLOW_ID)
    first = (await drain.describe()).run_id

    async def began_anew() -> bool:
        await nudge(worker, Drain.INBOX)
        return (await drain.describe()).run_id != first

    await eventually(began_anew)
    former = await worker.get_workflow_handle(drain_inbox.WORKFLOW_ID, run_id=first).describe()
    assert former.status is WorkflowExecutionStatus.CONTINUED_AS_NEW
    assert former.history_length < 2 * LONGEST_HISTORY
