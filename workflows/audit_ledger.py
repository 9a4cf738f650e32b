"""Every hour: is every balance proved, and has every charge its call and its entry?"""

from temporalio import workflow

from activities.audit import AuditActivities
from billing.audit import Audit
from workflows.deliver_alerts import deliver_alerts
from workflows.options import AUDIT


@workflow.defn
class AuditLedger:
    """Looks, records and tells. What does not agree is for a person to put right."""

    @workflow.run
    async def run(self) -> Audit:
        """Audit everything there is."""
        audit = await workflow.execute_activity_method(
            AuditActivities.audit_ledger,
            workflow.now(),
            summary="look at everything there is",
            **AUDIT,
        )
        workflow.set_current_details(_page(audit))
        await deliver_alerts()
        return audit


def _page(audit: Audit) -> str:
    named = [f"- `{one.check}` **{one.subject}**: {one.detail}" for one in audit.flaws[:100]]
    title = f"{len(audit.flaws)} rows do not agree" if audit.flaws else "Everything agrees"
    return "\n".join(
        (f"## {title}", f"{audit.wallets} wallets, {audit.entries} entries", "", *named)
    )
