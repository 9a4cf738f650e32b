"""Compare the ended calls that Vapi lists with the ledger, and bill what is missing."""

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy

from activities.reconciliation.runs import Comparing
from activities.reconciliation.vapi import VapiReconciliation
from billing.calls.call import EndedCall
from billing.reconciliation.reconciliation import Finding, Progress, Reconciliation, Report
from workflows import bill_call
from workflows.bill_call import BillCall, bill_or_tell
from workflows.reconciliation import Reconciling
from workflows.shared.options import LISTING
from workflows.shared.start_or_signal import start_or_signal


@workflow.defn
class ReconcileVapi(Reconciling):
    """Reconcile with Vapi: daily since the last success, or over a window a person names."""

    @workflow.run
    async def run(self, wanted: Reconciliation) -> Report | None:
        """Read Vapi's list page by page, bill what is missing, and return the report."""
        return await self.reconcile(wanted)

    async def compare(self, at: Comparing) -> Progress:
        """Compare a page of calls with the ledger."""
        return await workflow.execute_activity_method(
            VapiReconciliation.compare_calls,
            at,
            summary=f"compare page {at.progress.pages + 1}",
            **LISTING,
        )

    async def put_right(self, finding: Finding) -> None:
        """Start or tell the call's own process, which bills it with Vapi's facts.

        A process that ended without an entry in the ledger is started again: it was terminated, or
        the entry was lost when a backup was restored.
        """
        call = finding.call or EndedCall(finding.subject)
        why = f"{workflow.info().workflow_id}: Vapi lists it"
        if workflow.patched("better-facts"):
            await bill_or_tell(call, why)
            return
        options = bill_call.start_options(call)
        options["id_reuse_policy"] = WorkflowIDReusePolicy.ALLOW_DUPLICATE
        await start_or_signal(BillCall.run, call, options, BillCall.wake_up, why)
