"""A call has ended: charge it, or wait visibly until it can be charged."""

from dataclasses import replace

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import FailureError, is_cancelled_exception

from activities.attributes import RUNNING, BillingState
from activities.calls import CallActivities
from activities.vapi import VapiActivities
from billing.call import CallBill, CallState, DiscardedCall, EndedCall, call_workflow_id
from billing.parking import Parked, parked_call
from workflows.options import AT_ONCE, BILLING_QUEUE, DATABASE, PATIENT, PROVIDER, StartOptions
from workflows.parking import Parking
from workflows.recharging import recharge_short


@workflow.defn
class BillCall(Parking):
    """One call, one charge, for ever: the ledger's key holds that, this id only saves work."""

    @workflow.run
    async def run(self, call: EndedCall) -> CallBill:
        """Charge the call; park while it cannot be charged; stop when a person gives it up."""
        bill = await self.until_settled(lambda: self._attempt(call))
        if bill is None:
            bill = await self._discard(call)
        state = BillingState.SETTLED if bill.state is CallState.SETTLED else BillingState.DISCARDED
        await self.close(state, bill.org_id, bill.charge.amount if bill.charge else None)
        return bill

    async def _attempt(self, call: EndedCall) -> CallBill | Parked:
        bill = await self._charge(call)
        if bill.state is CallState.UNKNOWN_DURATION:
            bill = await self._charge(await self._ask_vapi(call))
        return bill if bill.state in (CallState.SETTLED, CallState.DISCARDED) else parked_call(bill)

    async def _charge(self, call: EndedCall) -> CallBill:
        bill = await self._charge_at_once(call)
        if bill is None:
            bill = await workflow.execute_activity_method(
                CallActivities.bill_call, call, summary="charge the wallet", **DATABASE
            )
        self.found_owner(bill.org_id)
        if bill.is_short and bill.org_id is not None:
            await recharge_short(bill.org_id)
        return bill

    async def _charge_at_once(self, call: EndedCall) -> CallBill | None:
        """Charge without a way through the server; None when that did not work.

        A local activity fails as what it failed with, not as an ActivityError around it.
        """
        try:
            return await workflow.execute_local_activity_method(
                CallActivities.bill_call, call, **AT_ONCE
            )
        except FailureError as failure:
            if is_cancelled_exception(failure):
                raise
            return None

    async def _ask_vapi(self, call: EndedCall) -> EndedCall:
        return await workflow.execute_activity_method(
            VapiActivities.fetch_call, call.call_id, summary="ask how long it took", **PROVIDER
        )

    async def _discard(self, call: EndedCall) -> CallBill:
        """Record the decision; a charge that was made in the meantime stands, and is named."""
        discarded = await workflow.execute_activity_method(
            CallActivities.discard_call, DiscardedCall(call, self.discarded_by), **PATIENT
        )
        if discarded:
            return CallBill(call.call_id, CallState.DISCARDED)
        bill = await workflow.execute_activity_method(
            CallActivities.bill_call, call, summary="name the charge that stands", **PATIENT
        )
        return replace(bill, state=CallState.SETTLED)


def start_options(call: EndedCall) -> StartOptions:
    """Say how a call's process is started: never twice."""
    return StartOptions(
        id=call_workflow_id(call.call_id),
        task_queue=BILLING_QUEUE,
        id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        static_summary=f"Charge call {call.call_id} of assistant {call.assistant_id}"[:200],
        search_attributes=RUNNING,
    )
