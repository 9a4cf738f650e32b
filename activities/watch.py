"""Look whether billing goes as it should, and store what people are to be told."""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from activities.visibility import Problems, Visibility
from billing.alarms.balances import balance_alerts
from billing.alarms.decide import decide
from billing.alarms.outage import Outage, over
from billing.alarms.seen import Seen
from billing.alert import AlarmKind
from billing.monitoring import HOUR, QUARTER
from billing.parked import ParkedFilter, ParkedTotal
from store import alerts, balances, inbox, monitoring

_KINDS = (
    AlarmKind.RATE,
    AlarmKind.INBOX,
    AlarmKind.PARKED_MONEY,
    AlarmKind.PARKED,
    AlarmKind.PROBLEMS,
)
_RECONCILIATIONS = ("ReconcileStripe", "ReconcileVapi")
_MOST_NAMED = 5
# A PostgreSQL that hangs is as good as gone.
_DATABASE_SECONDS = 15


@dataclass(frozen=True, slots=True)
class _Shown:
    """What Temporal has told, before a transaction is opened."""

    parked: tuple[ParkedTotal, ...]
    reconciling: tuple[ParkedTotal, ...]
    problems: Problems


@dataclass(frozen=True, slots=True)
class WatchActivities:
    """The watch over everything; `parked_money_minor` is how much may wait with parked work."""

    engine: AsyncEngine
    visibility: Visibility
    parked_money_minor: int

    @activity.defn
    async def look(self, now: datetime) -> int:
        """Look at everything once; answers how many alerts that gave."""
        shown = await self._ask_temporal()
        async with asyncio.timeout(_DATABASE_SECONDS), self.engine.begin() as connection:
            await alerts.one_at_a_time(connection)
            raised = await alerts.raised(connection, _KINDS)
            seen = await _see(connection, shown, now)
            told = 0
            for one in decide(seen, raised, self.parked_money_minor):
                told += await alerts.cross(
                    connection, one.alarm, raised=one.raised, alert=one.alert, depth=one.depth
                )
            return told + await _tell_of_balances(connection, now)

    @activity.defn
    async def can_look(self, now: datetime) -> None:
        """Look at the same, and decide nothing: after an outage everything is late for a moment."""
        shown = await self._ask_temporal()
        async with asyncio.timeout(_DATABASE_SECONDS), self.engine.connect() as connection:
            await _see(connection, shown, now)
            await balances.changed(connection)

    @activity.defn
    async def tell_it_is_over(self, outage: Outage) -> None:
        """Store that the watch can look again."""
        async with self.engine.begin() as connection:
            await alerts.tell(connection, over(outage))

    async def _ask_temporal(self) -> _Shown:
        """Ask what waits and what fails."""
        reconciling = [
            await self.visibility.totals(ParkedFilter(process=process))
            for process in _RECONCILIATIONS
        ]
        return _Shown(
            parked=await self.visibility.totals(ParkedFilter()),
            reconciling=tuple(total for totals in reconciling for total in totals),
            problems=await self.visibility.problems(_MOST_NAMED),
        )


async def _see(connection: AsyncConnection, shown: _Shown, now: datetime) -> Seen:
    return Seen(
        at=now,
        quarter=await monitoring.rates(connection, now, QUARTER),
        hour=await monitoring.rates(connection, now, HOUR),
        oldest_due_seconds=(await inbox.backlog(connection)).oldest_seconds,
        parked=shown.parked,
        reconciling=shown.reconciling,
        failing=shown.problems.count,
        failing_ids=shown.problems.workflow_ids,
    )


async def _tell_of_balances(connection: AsyncConnection, now: datetime) -> int:
    """Tell of the wallets that got worse or well; only those come out of the database."""
    changes = await balances.changed(connection)
    await alerts.set_depths(connection, {one.alarm: one.depth for one in changes})
    told = [await alerts.tell(connection, alert) for alert in balance_alerts(changes, now)]
    return sum(told)
