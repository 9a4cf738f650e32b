"""Compare Stripe's payments, refunds and disputes with the ledger, and its credits with Stripe."""

from temporalio import workflow

from activities.reconciliation.runs import Comparing
from activities.reconciliation.stripe import StripeReconciliation
from billing.inbox.webhook_event import PaymentHint
from billing.reconciliation.card_comparison import is_about_card
from billing.reconciliation.reconciliation import Finding, Progress, Reconciliation, Report
from workflows.reconciliation import Reconciling
from workflows.settle_payment import look_again_at
from workflows.shared.options import LISTING
from workflows.shared.recharge_requests import recharge_again


@workflow.defn
class ReconcileStripe(Reconciling):
    """Reconcile with Stripe: daily over two weeks at least, or over a window a person names."""

    @workflow.run
    async def run(self, wanted: Reconciliation) -> Report | None:
        """Read Stripe's lists page by page, settle what differs, and return the report."""
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
        """Start or signal the process that looks again: the payment's own, or the recharge."""
        if is_about_card(finding) and finding.org_id is not None:
            await recharge_again(finding.org_id, f"{workflow.info().workflow_id}: {finding.detail}")
            return
        await look_again_at(PaymentHint(finding.subject, key=workflow.info().workflow_id))
