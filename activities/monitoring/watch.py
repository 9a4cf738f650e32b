"""Look whether billing goes as it should, and store the alerts if it does not."""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from activities.parking.visibility import Problems, Visibility
from billing.alerts.alert import AlarmKind
from billing.alerts.balances import balance_alerts
from billing.alerts.keys import WEEK, expiring
from billing.alerts.observation import Observation
from billing.alerts.outage import Outage, over
from billing.alerts.watch import decide
from billing.monitoring import HOUR, QUARTER
from billing.parking.parked_work import ParkedFilter, ParkedTotal
from billing.platform_rules import PlatformRules
from store.alerts import alerts, balances
from store.inbox import inbox
from store.monitoring import rates
from store.organizations import api_keys

_KINDS = (
    AlarmKind.RATE,
    AlarmKind.INBOX,
    AlarmKind.PARKED_MONEY,
    AlarmKind.PARKED,
    AlarmKind.PROBLEMS,
)
_RECONCILIATIONS = ("ReconcileStripe", "ReconcileVapi")
_MOST_NAMED = 5
# If PostgreSQL takes longer than this, it hangs, and counts as away.
_DATABASE_SECONDS = 15


@dataclass(frozen=True, slots=True)
class _Shown:
    """What Temporal has answered, before a transaction is opened."""

    parked: tuple[ParkedTotal, ...]
    reconciling: tuple[ParkedTotal, ...]
    problems: Problems


@dataclass(frozen=True, slots=True)
class WatchActivities:
    """The activities of the watch."""

    engine: AsyncEngine
    visibility: Visibility
    rules: PlatformRules

    @activity.defn
    async def look(self, now: datetime) -> int:
        """Look at everything once; return how many alerts were stored."""
        shown = await self._ask_temporal()
        async with asyncio.timeout(_DATABASE_SECONDS), self.engine.begin() as connection:
            await alerts.one_at_a_time(connection)
            raised = await alerts.raised(connection, _KINDS)
            observed = await _see(connection, shown, now)
            alerted = 0
            for one in decide(observed, raised, self.rules.parked_money_alert_minor):
                alerted += await alerts.cross(
                    connection, one.alarm, raised=one.raised, alert=one.alert, depth=one.depth
                )
            alerted += await _tell_of_expiring_keys(connection)
            return alerted + await _alert_balances(connection, now)

    @activity.defn
    async def can_look(self, now: datetime) -> None:
        """Look at the same things, and decide nothing.

        Right after an outage everything is late for a moment, which is no reason for an alarm.
        """
        shown = await self._ask_temporal()
        async with asyncio.timeout(_DATABASE_SECONDS), self.engine.connect() as connection:
            await _see(connection, shown, now)
            await balances.changed(connection)

    @activity.defn
    async def tell_it_is_over(self, outage: Outage) -> None:
        """Store the alert that the watch can look again."""
        async with self.engine.begin() as connection:
            await alerts.tell(connection, over(outage))

    async def _ask_temporal(self) -> _Shown:
        """Ask Temporal what is parked and whose code fails."""
        reconciling = [
            await self.visibility.totals(ParkedFilter(process=process))
            for process in _RECONCILIATIONS
        ]
        return _Shown(
            parked=await self.visibility.totals(ParkedFilter()),
            reconciling=tuple(total for totals in reconciling for total in totals),
            problems=await self.visibility.problems(_MOST_NAMED),
        )


async def _see(connection: AsyncConnection, shown: _Shown, now: datetime) -> Observation:
    return Observation(
        at=now,
        quarter=await rates.rates(connection, now, QUARTER),
        hour=await rates.rates(connection, now, HOUR),
        oldest_due_seconds=(await inbox.backlog(connection)).oldest_seconds,
        parked=shown.parked,
        reconciling=shown.reconciling,
        failing=shown.problems.count,
        failing_ids=shown.problems.workflow_ids,
    )


async def _tell_of_expiring_keys(connection: AsyncConnection) -> int:
    """Store the alerts about keys of operators that are in use and end soon; return how many."""
    ending = await api_keys.expiring(connection, WEEK, WEEK)
    return sum([await alerts.tell(connection, expiring(key)) for key in ending])


async def _alert_balances(connection: AsyncConnection, now: datetime) -> int:
    """Store the alerts about wallets that got worse or well; return how many."""
    changes = await balances.changed(connection)
    await alerts.set_depths(connection, {one.alarm: one.depth for one in changes})
    stored = [await alerts.tell(connection, alert) for alert in balance_alerts(changes, now)]
    return sum(stored)
