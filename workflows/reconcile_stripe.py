"""Every payment, refund and dispute at Stripe is in the ledger, and every credit is paid."""

from temporalio import workflow

from activities.reconciliation import Comparing
from activities.stripe_reconciliation import StripeReconciliation
from billing.reconciliation import Finding, Progress, Reconciliation, Report
from billing.webhook import PaymentHint
from workflows.options import LISTING
from workflows.reconciling import Reconciling
from workflows.settle_payment import look_again_at


@workflow.defn
class ReconcileStripe(Reconciling):
    """Daily over two weeks at least, or by hand over a window of one's own."""

    @workflow.run
    async def run(self, wanted: Reconciliation) -> Report | None:
        """Walk down Stripe's lists, have what differs settled, and report."""
        return await self.reconcile(wanted)

    async def compare(self, at: Comparing) -> Progress:
        """Compare a page of one of the lists with the ledger."""
        return await workflow.execute_activity_method(
            StripeReconciliation.compare_payments,
            at,
            summary=f"compare page {at.progress.pages + 1} ({at.progress.below or 'the first'})",
            **LISTING,
        )

    async def put_right(self, finding: Finding) -> None:
        """Have the payment looked at by its own process."""
        await look_again_at(PaymentHint(finding.subject, key=workflow.info().workflow_id))
