"""Make calls on days that only one test uses, and reconcile them as operators do."""

import itertools
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowHandle

from billing.calls.call import EndedCall
from billing.inbox.webhook_event import Source
from billing.reconciliation.reconciliation import Finding, Reconciliation, Report, Window
from store.calls import calls
from store.reconciliation import findings
from tests.support.factories import ended_call
from tests.support.parked_workflows import ended
from workflows.reconcile_stripe import ReconcileStripe
from workflows.reconcile_vapi import ReconcileVapi
from workflows.reconciliation import start_options

# So far apart that what one test's calls change into days later is in nobody else's window.
_days = itertools.count(step=8)
_FIRST_DAY = datetime(2022, 1, 1, tzinfo=UTC)


def a_day() -> Window:
    """Return a day that no other test uses."""
    since = _FIRST_DAY + timedelta(days=next(_days))
    return Window(since, since + timedelta(days=1))


def calls_on(
    day: Window, assistant_id: str | None, count: int, seconds: int = 60
) -> list[EndedCall]:
    """Return one-minute calls, a minute apart, the first of which ends at one in the morning."""
    first = day.since + timedelta(hours=1)
    return [
        ended_call(assistant_id, seconds, ended_at=first + timedelta(minutes=number))
        for number in range(count)
    ]


def calls_of_today(assistant_id: str | None, count: int) -> list[EndedCall]:
    """Return one-minute calls that ended an hour ago or earlier."""
    last = datetime.fromtimestamp(time.time(), UTC) - timedelta(hours=1)
    return [
        ended_call(assistant_id, 60, ended_at=last - timedelta(minutes=number))
        for number in range(count)
    ]


async def bill(engine: AsyncEngine, *ended: EndedCall) -> None:
    """Bill calls as if their webhooks had arrived."""
    async with engine.begin() as connection:
        await calls.charge(connection, ended)


@dataclass(frozen=True)
class Reconciler:
    """Start reconciliations of a window, or as the schedule does."""

    temporal: Client
    engine: AsyncEngine
    source: Source = Source.VAPI

    async def start(
        self, window: Window, *, org_id: str | None = None, dry_run: bool = False
    ) -> WorkflowHandle[Any, Report | None]:
        wanted = Reconciliation(self.source, window.since, window.until, org_id, dry_run)
        return await self._start(wanted)

    async def reconcile(
        self, window: Window, *, org_id: str | None = None, dry_run: bool = False
    ) -> Report:
        handle = await self.start(window, org_id=org_id, dry_run=dry_run)
        report = await ended(handle)
        assert report is not None
        return report

    async def start_daily(self) -> WorkflowHandle[Any, Report | None]:
        return await self._start(Reconciliation(self.source))

    async def daily(self) -> Report:
        """Reconcile as the schedule does: everything since two days before the last success."""
        report = await ended(await self.start_daily())
        assert report is not None
        return report

    async def findings(self, report: Report) -> list[Finding]:
        async with self.engine.connect() as connection:
            return await findings.page(connection, report.run.run_id, None, 1000)

    async def _start(self, wanted: Reconciliation) -> WorkflowHandle[Any, Report | None]:
        run = ReconcileVapi.run if self.source is Source.VAPI else ReconcileStripe.run
        return await self.temporal.start_workflow(run, wanted, **start_options(wanted))


def as_listed(call: EndedCall, *, longer_by: float = 0) -> EndedCall:
    assert call.ended_at is not None
    return replace(call, ended_at=call.ended_at + timedelta(seconds=longer_by))
