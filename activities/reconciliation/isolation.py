"""One thing in a provider's list that is bad keeps no other from being compared."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from activities.temporal.isolation import apart
from billing.reconciliation.reconciliation import Finding, Run
from billing.reconciliation.uncompared import uncompared
from store.reconciliation import findings


async def add_findings(connection: AsyncConnection, run: Run, found: Sequence[Finding]) -> None:
    """Record what a page shows. Of what PostgreSQL cannot store only that it was found is kept.

    An organisation may read what a run over it alone has found. So that shows what is its own, and
    nothing of others, nor of which nobody can say whose it is: the daily run looks at that.
    """
    shown = [one for one in found if run.org_id in (None, one.org_id)]

    async def add_part(part: Sequence[Finding]) -> Sequence[None]:
        async with connection.begin_nested():
            await findings.add(connection, run.run_id, part)
        return ()

    added = await apart(shown, add_part, lambda finding: f"finding {finding.subject}")
    bare = [
        uncompared(run, failed.one.subject, failed.problem, run.org_id) for failed in added.failed
    ]
    await findings.add(connection, run.run_id, bare)
