"""Every ended call that Vapi lists is in the ledger, or on its way there."""

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy

from activities.reconciliation import Comparing
from activities.vapi_reconciliation import VapiReconciliation
from billing.reconciliation import Finding, Progress, Reconciliation, Report
from workflows import bill_call
from workflows.bill_call import BillCall
from workflows.options import LISTING
from workflows.reach import start_or_tell
from workflows.reconciling import Reconciling


@workflow.defn
class ReconcileVapi(Reconciling):
    """Daily over all calls since the last success, or by hand over a window of one's own."""

    @workflow.run
    async def run(self, wanted: Reconciliation) -> Report | None:
        """Walk down Vapi's list, bill what is missing, and report."""
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
        """Have the call billed by its own process, with Vapi's facts.

        A process that ended without an entry in the ledger (terminated, or forgotten with a backup)
        is started again.
        """
        if finding.call is None:
            raise ValueError(f"finding {finding.subject} is of a call, and has none")
        options = bill_call.start_options(finding.call)
        options["id_reuse_policy"] = WorkflowIDReusePolicy.ALLOW_DUPLICATE
        why = f"{workflow.info().workflow_id}: Vapi lists it"
        await start_or_tell(BillCall.run, finding.call, options, BillCall.wake_up, why)
