"""Audit the ledger in PostgreSQL, and change nothing in it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from activities.parking.visibility import Visibility
from activities.temporal.isolation import apart
from billing.alerts.audit import found, gone
from billing.ledger.audit import Audit, Check, Flaw
from billing.platform_rules import PlatformRules
from store.alerts import alerts
from store.ledger import audit, audit_waiting
from store.ledger.audit_waiting import Waiting
from store.organizations import organizations
from store.payments import payments

# How many organisations share a snapshot. While a snapshot is held, PostgreSQL cannot vacuum what
# changed since, so none may be held for long.
BATCH = 100
_ALARMS = "audit:"


@dataclass(frozen=True, slots=True)
class AuditActivities:
    """The activity that audits everything, a set of organisations at a time."""

    engine: AsyncEngine
    rules: PlatformRules
    visibility: Visibility
    page: int = BATCH

    @activity.defn
    async def audit_ledger(self, began: datetime) -> Audit:
        """Check that everything agrees. Record and alert what does not, and repair nothing."""
        flaws, entries, organizations = list[Flaw](), 0, 0
        async for org_ids in self._organizations():
            async with self._snapshot() as connection:
                for check in audit.OF_ORGANIZATIONS:
                    flaws += await _of_organizations(connection, check, org_ids)
                entries += await audit.count_entries(connection, org_ids)
            organizations += len(org_ids)
            activity.heartbeat(organizations)
        async with self._snapshot() as connection:
            untyped = await payments.untyped_are_ours(connection, self.rules.untyped_payments)
            flaws += await _of_webhooks(connection, untyped_are_ours=untyped)
        flaws += await self.abandoned()
        result = Audit(began, organizations, entries, tuple(flaws))
        await self._conclude(result)
        return result

    async def abandoned(self) -> list[Flaw]:
        """Find what waits, and has no process: one that was terminated, or never started.

        Temporal's lists are late, so what it does not list is read once more: it may be done with.
        """
        flaws, after = list[Flaw](), ""
        while True:
            async with self.engine.connect() as connection:
                waiting = await audit_waiting.page(connection, after, self.page)
            if not waiting:
                return flaws
            asked = await apart(waiting, self._alone, attrgetter("workflow_id"), one_is_alone=True)
            alone = set(asked.done)
            if alone:
                async with self.engine.connect() as connection:
                    alone = await audit_waiting.still(connection, alone)
            flaws += [_abandoned(one) for one in waiting if one.workflow_id in alone]
            flaws += [_not_checked(one.one.workflow_id, one.problem) for one in asked.failed]
            after = waiting[-1].workflow_id

    async def _alone(self, waiting: Sequence[Waiting]) -> Sequence[str]:
        """Return the ids of the processes that no list of Temporal's shows as running."""
        ids = [one.workflow_id for one in waiting]
        running = await self.visibility.running(ids)
        return [one for one in ids if one not in running]

    async def _organizations(self) -> AsyncIterator[Sequence[str]]:
        after = None
        while True:
            async with self.engine.connect() as connection:
                page = [one.org_id for one in await organizations.page(connection, after, BATCH)]
            if not page:
                return
            yield page
            after = page[-1]

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that sees one moment, has five minutes a query, and cannot write."""
        async with self.engine.begin() as connection:
            await connection.execute(
                text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            )
            await connection.execute(text("SET LOCAL statement_timeout = '5min'"))
            yield connection

    async def _conclude(self, result: Audit) -> None:
        """Record the audit, and alert the flaws that are new or gone since the last one."""
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


async def _of_organizations(
    connection: AsyncConnection, check: Check, org_ids: Sequence[str]
) -> list[Flaw]:
    """Check organisations; one that cannot be checked is named, and keeps no other from it."""

    async def check_part(part: Sequence[str]) -> list[Flaw]:
        async with connection.begin_nested():
            return await audit.of_check(connection, check, part)

    found = await apart(
        org_ids, check_part, lambda org_id: f"{check} of {org_id}", one_is_alone=True
    )
    return [
        *found.done,
        *(_not_checked(f"{check} of {one.one}", one.problem) for one in found.failed),
    ]


async def _of_webhooks(connection: AsyncConnection, *, untyped_are_ours: bool) -> list[Flaw]:
    """Check webhooks; a check that cannot be made is named, and keeps no other from being made."""

    async def check_part(part: Sequence[Check]) -> list[Flaw]:
        async with connection.begin_nested():
            return await audit.of_webhooks(connection, part, untyped_are_ours=untyped_are_ours)

    found = await apart([*audit.OF_WEBHOOKS], check_part, str, one_is_alone=True)
    return [*found.done, *(_not_checked(one.one, one.problem) for one in found.failed)]


def _not_checked(subject: str, problem: str) -> Flaw:
    return Flaw(Check.NOT_CHECKED, subject, f"it cannot be checked ({problem})")


def _abandoned(one: Waiting) -> Flaw:
    detail = f"it waits ({one.state}), and no process does"
    return Flaw(Check.WAITING_WITHOUT_PROCESS, one.workflow_id, detail, one.org_id)
