"""One thing in a provider's list that is bad keeps no other from being compared."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from activities.temporal.isolation import apart, each_apart
from billing.alerts.reconciliation import unrecorded
from billing.reconciliation.reconciliation import Finding, Run
from billing.reconciliation.uncompared import uncompared
from store.alerts import alerts
from store.reconciliation import findings


async def add_findings(connection: AsyncConnection, run: Run, found: Sequence[Finding]) -> None:
    """Record what a page shows. Of what PostgreSQL cannot store only that it was found is kept.

    If not even that can be kept of one, people are told. An organisation may read what a run over
    it alone has found. So that shows what is its own, and nothing of others, nor of which nobody
    can say whose it is: the daily run looks at that.
    """
    shown = [one for one in found if run.org_id in (None, one.org_id)]

    async def add_part(part: Sequence[Finding]) -> Sequence[Finding]:
        async with connection.begin_nested():
            await findings.add(connection, run.run_id, part)
        return part

    async def add_bare(finding: Finding) -> None:
        await add_part([finding])

    added = await apart(shown, add_part, _name)
    bare = [
        uncompared(run, failed.one.subject, failed.problem, run.org_id) for failed in added.failed
    ]
    kept = await each_apart(bare, add_bare, _name, all_may_fail=bool(added.done))
    if kept.failed:
        await alerts.tell(connection, unrecorded(run, [one.subject for one in kept.alone]))


def _name(finding: Finding) -> str:
    return f"finding {finding.subject}"
