"""A call has ended: charge it, or wait visibly until it can be charged."""

from dataclasses import replace

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import ActivityError, ApplicationError

from activities.calls.calls import CallActivities
from activities.calls.vapi import VapiActivities
from activities.temporal.search_attributes import RUNNING, BillingState
from billing.calls.call import CallBill, CallState, EndedCall, call_workflow_id
from billing.calls.call_record import DiscardedCall
from billing.calls.facts import merge, names_what_answered
from billing.calls.length import StatedLength, is_possible
from billing.errors import CallMissing
from billing.parking.parked import Parked, parked_call
from billing.text import inert
from workflows.shared.collection_requests import collect_what_it_pays
from workflows.shared.decision_answer import DecisionAnswer
from workflows.shared.local_first import local_first
from workflows.shared.options import BILLING_QUEUE, PATIENT, PROVIDER, StartOptions
from workflows.shared.parking import Parking
from workflows.shared.recharge_requests import recharge_short
from workflows.shared.start_or_signal import signal, start


@workflow.defn
class BillCall(Parking):
    """One call, one charge, for ever: the ledger's key holds that, this id only saves work."""

    def __init__(self) -> None:
        super().__init__()
        self._call_id = ""
        self._told: EndedCall | None = None
        self._acted_on: EndedCall | None = None
        self._has_asked = False

    @workflow.signal(description="Better facts of the call, for the next try.")
    def news(self, call: EndedCall) -> None:
        """Keep what is told for the next try. Who tells it also wakes this process up.

        This begins no try by itself. A worker of version 0.1 passes it over, and what is written in
        the history then must be what this code does.
        """
        self._told = merge(self._told, call) if self._told else call

    @workflow.update(description="Charge this length; answers with what came of it.")
    async def charge_length(self, length: StatedLength) -> DecisionAnswer:
        """Take a length for the call's, by a person's word, and try again; return the outcome."""
        before = self.answers
        self.news(EndedCall(self._call_id, stated=length))
        self.reprocess(f"{length.who_and_why} ({length.seconds:f} s)")
        await workflow.wait_condition(lambda: self.answers > before)
        return self.answer

    @charge_length.validator
    def _may_be_charged(self, length: StatedLength) -> None:
        self.require_parked(length.who_and_why)
        if not is_possible(length.seconds):
            raise ApplicationError("no call takes so long", type="invalid_decision")

    @workflow.run
    async def run(self, call: EndedCall) -> CallBill:
        """Charge the call; park while it cannot be charged; stop when a person gives it up."""
        self._call_id = call.call_id
        bill = await self._until_done(call)
        while self._known(call) != self._acted_on and workflow.patched("hears-while-it-ends"):
            self.go_on()
            self.take_up_again()
            bill = await self._until_done(call)
        return bill

    async def _until_done(self, call: EndedCall) -> CallBill:
        """Charge it, or give it up; show which."""
        bill = await self.until_settled(lambda: self._attempt_until_no_news(call))
        if bill is None:
            bill = await self._discard(self._known(call))
        state = BillingState.SETTLED if bill.state is CallState.SETTLED else BillingState.DISCARDED
        await self.close(state, bill.org_id, bill.charge.amount if bill.charge else None)
        return bill

    def _known(self, call: EndedCall) -> EndedCall:
        """Return the facts with which it was started, and all that was told since."""
        return merge(call, self._told) if self._told else call

    async def _attempt_until_no_news(self, call: EndedCall) -> CallBill | Parked:
        while True:
            known = self._acted_on = self._known(call)
            outcome = await self._attempt(known)
            if self._known(call) == known:
                return outcome

    async def _attempt(self, call: EndedCall) -> CallBill | Parked:
        bill = await self._charge(call)
        if bill.state is CallState.UNKNOWN_DURATION:
            bill = await self._charge(await self._ask_vapi(call, "ask how long it took"))
        elif self._should_ask_whose(call, bill) and (told := await self._ask_whose(call)):
            bill = await self._charge(told)
        return parked_call(bill) if bill.state.waits else bill

    def _should_ask_whose(self, call: EndedCall, bill: CallBill) -> bool:
        """Whether nobody's it is, and Vapi may name what it was started with, if asked."""
        is_nobodys = bill.state is CallState.UNKNOWN_ASSISTANT
        if not is_nobodys or names_what_answered(call) or self._has_asked:
            return False
        return workflow.patched("asks-whose-it-is")

    async def _ask_whose(self, call: EndedCall) -> EndedCall | None:
        """Ask Vapi what the call was started with, until it answers; None if it knows no such call.

        A person can say whose the call is, and need not wait for Vapi to know it.
        """
        try:
            return await self._ask_vapi(call, "ask whose it is")
        except ActivityError as failure:
            if self.why(failure).reason != CallMissing.code:
                raise
            self._has_asked = True
            return None

    async def _charge(self, call: EndedCall) -> CallBill:
        bill = await local_first(CallActivities.bill_call, call, "charge the wallet")
        self.found_owner(bill.org_id)
        if bill.is_short and bill.org_id is not None:
            await recharge_short(bill.org_id)
        if bill.posting is not None and bill.posting.gives and bill.org_id is not None:
            await collect_what_it_pays(bill.org_id)
        return bill

    async def _ask_vapi(self, call: EndedCall, what: str) -> EndedCall:
        told = await workflow.execute_activity_method(
            VapiActivities.fetch_call, call.call_id, summary=what, **PROVIDER
        )
        self._has_asked = True
        return told

    async def _discard(self, call: EndedCall) -> CallBill:
        """Record the decision; a charge that was made in the meantime stands, and is named."""
        self._acted_on = call
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
    """Return how a call's process is started: never twice."""
    return StartOptions(
        id=call_workflow_id(call.call_id),
        task_queue=BILLING_QUEUE,
        id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        static_summary=inert(f"Charge call {call.call_id} of assistant {call.assistant_id}")[:200],
        search_attributes=RUNNING,
    )


async def bill_or_tell(call: EndedCall, why: str) -> None:
    """Start a call's process, or have the one that runs try again with these facts as well.

    One that has ended is started again: it knew less, or left nothing in the ledger.
    """
    options = start_options(call)
    options["id_reuse_policy"] = WorkflowIDReusePolicy.ALLOW_DUPLICATE
    while not await start(BillCall.run, call, options):
        told = await signal(options["id"], BillCall.news, call)
        if told and await signal(options["id"], BillCall.wake_up, why):
            return
