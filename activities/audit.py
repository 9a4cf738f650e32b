"""Audit the ledger on PostgreSQL, without touching what is audited."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from billing.audit import Audit, Flaw, found, gone
from store import alerts, audit, wallets

# How many organisations share a snapshot: an old one keeps PostgreSQL from tidying up.
BATCH = 100
_ALARMS = "audit:"


@dataclass(frozen=True, slots=True)
class AuditActivities:
    """Looks at everything there is, a set of organisations at a time."""

    engine: AsyncEngine

    @activity.defn
    async def audit_ledger(self, began: datetime) -> Audit:
        """Look whether everything agrees; record and tell what does not, and repair nothing."""
        flaws, entries, organizations = list[Flaw](), 0, 0
        async for org_ids in self._organizations():
            async with self._snapshot() as connection:
                flaws += await audit.of_organizations(connection, org_ids)
                entries += await audit.count_entries(connection, org_ids)
            organizations += len(org_ids)
            activity.heartbeat(organizations)
        async with self._snapshot() as connection:
            flaws += await audit.of_webhooks(connection)
        result = Audit(began, organizations, entries, tuple(flaws))
        await self._conclude(result)
        return result

    async def _organizations(self) -> AsyncIterator[Sequence[str]]:
        after = None
        while True:
            async with self.engine.connect() as connection:
                page = [one.org_id for one in await wallets.page(connection, after, BATCH)]
            if not page:
                return
            yield page
            after = page[-1]

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that sees one moment, may take its time, and cannot write."""
        async with self.engine.begin() as connection:
            await connection.execute(
                text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            )
            await connection.execute(text("SET LOCAL statement_timeout = '5min'"))
            yield connection

    async def _conclude(self, result: Audit) -> None:
        """Record the audit; tell of what is new since the last one, and of what is gone."""
        workflow_id = activity.info().workflow_id or ""
        key = f"audit:{result.started_at.isoformat()}"
        flaws = {flaw.alarm: flaw for flaw in result.flaws}
        async with self.engine.begin() as connection:
            await audit.record(connection, result)
            new, over = await alerts.cross_all(connection, _ALARMS, flaws)
            if new:
                named = [flaws[alarm] for alarm in sorted(new)]
                await alerts.tell(connection, found(key, named, workflow_id))
            if over:
                await alerts.tell(connection, gone(key, over, workflow_id))
