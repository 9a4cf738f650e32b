"""Look whether billing goes as it should, and store the alerts if it does not."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial, reduce
from operator import attrgetter

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from activities.monitoring.balances import alert_changes, changed
from activities.parking.visibility import Visibility
from activities.temporal.isolation import Apart, apart, each_apart, is_of_data
from billing.alerts.alert import AlarmKind, Crossing
from billing.alerts.balances import BalanceChange
from billing.alerts.keys import WEEK, expiring
from billing.alerts.observation import Observation
from billing.alerts.outage import Outage, Unseen, over, seen_again, unseen
from billing.alerts.watch import JUDGMENTS, Judgment, Round, WatchPart, each_cause_once
from billing.monitoring import HOUR, QUARTER
from billing.parking.parked_work import ParkedFilter
from billing.platform_rules import PlatformRules
from store.alerts import alerts
from store.inbox import inbox
from store.monitoring import rates
from store.organizations import api_keys

_KINDS = (
    AlarmKind.RATE,
    AlarmKind.INBOX,
    AlarmKind.PARKED_MONEY,
    AlarmKind.PARKED,
    AlarmKind.PROBLEMS,
    AlarmKind.WATCH,
)
_RECONCILIATIONS = ("ReconcileStripe", "ReconcileVapi")
_MOST_NAMED = 5
# If PostgreSQL takes longer than this, it hangs, and counts as away.
_DATABASE_SECONDS = 15


# So often a failure of a part fails the round: what is over by then is nothing to tell.
_TRIES = 3

# What adds to an observation what was seen of one part.
_Sight = Callable[[Observation], Observation]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a round has seen, which balances changed, and what it could not look at."""

    observed: Observation
    changes: Sequence[BalanceChange]
    unseen: Sequence[Unseen]


@dataclass(frozen=True, slots=True)
class WatchActivities:
    """The activities of the watch.

    Each part is looked at by itself. One that cannot be is told, and hides no other.
    """

    engine: AsyncEngine
    visibility: Visibility
    rules: PlatformRules

    @activity.defn
    async def look(self, now: datetime) -> int:
        """Look at everything once; return how many alerts were stored.

        Raise if nothing can be looked at.
        """
        asked = await self._ask_temporal()
        async with asyncio.timeout(_DATABASE_SECONDS), self.engine.begin() as connection:
            await alerts.one_at_a_time(connection)
            raised = await alerts.raised(connection, _KINDS)
            seen = await _see(connection, asked, now)
            judged = await self._judge(seen, raised)
            found = [crossing for crossings in judged.done for crossing in crossings]
            news, unset = await _cross(connection, each_cause_once(found, raised))
            told, untold = await alert_changes(connection, seen.changes, now)
            of_keys, hidden = await _tell_of_expiring_keys(connection)
            failed = [
                *seen.unseen,
                *(Unseen(one.one.part, one.one.name, one.problem) for one in judged.failed),
                *unset,
                *untold,
                *hidden,
            ]
            return news + told + of_keys + await _tell_of_unseen(connection, failed, raised, now)

    @activity.defn
    async def can_look(self, now: datetime) -> None:
        """Look at the same things, and decide nothing.

        Right after an outage everything is late for a moment, which is no reason for an alarm.
        """
        asked = await self._ask_temporal()
        async with asyncio.timeout(_DATABASE_SECONDS), self.engine.connect() as connection:
            await _see(connection, asked, now)

    @activity.defn
    async def tell_it_is_over(self, outage: Outage) -> None:
        """Store the alert that the watch can look again."""
        async with self.engine.begin() as connection:
            await alerts.tell(connection, over(outage))

    async def _ask_temporal(self) -> Apart[WatchPart, _Sight]:
        """Ask Temporal what is parked and whose code fails."""
        parts = {WatchPart.PARKED: self._parked, WatchPart.PROBLEMS: self._problems}
        return await _each(parts)

    async def _parked(self) -> _Sight:
        reconciling = [
            await self.visibility.totals(ParkedFilter(process=process))
            for process in _RECONCILIATIONS
        ]
        return partial(
            replace,
            parked=await self.visibility.totals(ParkedFilter()),
            reconciling=tuple(total for totals in reconciling for total in totals),
        )

    async def _problems(self) -> _Sight:
        problems = await self.visibility.problems(_MOST_NAMED)
        return partial(replace, failing=problems.count, failing_ids=problems.workflow_ids)

    async def _judge(
        self, seen: _Seen, raised: frozenset[str]
    ) -> Apart[Judgment, Sequence[Crossing]]:
        """Decide by what was seen, and by nothing else."""
        round_ = Round(seen.observed, raised, self.rules.parked_money_alert_minor)
        blind = {one.part for one in seen.unseen}

        async def judge(judgment: Judgment) -> Sequence[Crossing]:
            return list(judgment.crossings(round_))

        possible = [one for one in JUDGMENTS if one.part not in blind]
        return await each_apart(possible, judge, attrgetter("name"), all_may_fail=True)


async def _each(
    parts: Mapping[WatchPart, Callable[[], Awaitable[_Sight]]],
) -> Apart[WatchPart, _Sight]:
    async def see(part: WatchPart) -> _Sight:
        return await parts[part]()

    return await each_apart([*parts], see, "the watch of {}".format, _is_outage, all_may_fail=True)


def _is_outage(failure: Exception) -> bool:
    """Return whether a failure is nothing to tell yet: it may be over at the next try."""
    return not is_of_data(failure) and activity.info().attempt < _TRIES


async def _see(
    connection: AsyncConnection, asked: Apart[WatchPart, _Sight], now: datetime
) -> _Seen:
    """Read the rest. Raise if there is no part that can be looked at."""
    parts = {
        WatchPart.INBOX: partial(_inbox, connection),
        WatchPart.RATES: partial(_rates, connection, now),
    }
    read = await _each(parts)

    async def balances(_: WatchPart) -> Apart[str, BalanceChange]:
        return await changed(connection)

    wallets = await each_apart(
        [WatchPart.BALANCES], balances, "the watch of {}".format, _is_outage, all_may_fail=True
    )
    failed = (*asked.failed, *read.failed, *wallets.failed)
    if not (asked.done or read.done or wallets.done):
        raise failed[0].failure
    sights = (*asked.done, *read.done)
    return _Seen(
        reduce(lambda observed, see: see(observed), sights, Observation(now)),
        [change for one in wallets.done for change in one.done],
        [
            *(Unseen(one.one, "all of it", one.problem) for one in failed),
            *(
                Unseen(WatchPart.BALANCES, alone.one, alone.problem)
                for one in wallets.done
                for alone in one.failed
            ),
        ],
    )


async def _tell_of_expiring_keys(connection: AsyncConnection) -> tuple[int, list[Unseen]]:
    """Store the alerts about keys of operators that are in use and end soon; return how many."""

    async def tell(_: WatchPart) -> int:
        async with connection.begin_nested():
            ending = await api_keys.expiring(connection, WEEK, WEEK)
            return sum([await alerts.tell(connection, expiring(key)) for key in ending])

    told = await each_apart(
        [WatchPart.KEYS], tell, "the watch of {}".format, _is_outage, all_may_fail=True
    )
    return sum(told.done), [Unseen(one.one, "all of it", one.problem) for one in told.failed]


async def _inbox(connection: AsyncConnection) -> _Sight:
    async with connection.begin_nested():
        backlog = await inbox.backlog(connection)
    return partial(replace, oldest_due_seconds=backlog.oldest_seconds)


async def _rates(connection: AsyncConnection, now: datetime) -> _Sight:
    async with connection.begin_nested():
        quarter = await rates.rates(connection, now, QUARTER)
        hour = await rates.rates(connection, now, HOUR)
    return partial(replace, quarter=quarter, hour=hour)


async def _cross(
    connection: AsyncConnection, crossings: Sequence[Crossing]
) -> tuple[int, list[Unseen]]:
    """Set alarms; return how many were news, and which cannot be set."""

    async def cross_part(part: Sequence[Crossing]) -> list[bool]:
        async with connection.begin_nested():
            return [
                await alerts.cross(
                    connection, one.alarm, raised=one.raised, alert=one.alert, depth=one.depth
                )
                for one in part
            ]

    crossed = await apart(crossings, cross_part, attrgetter("alarm"), one_is_alone=True)
    failed = [Unseen(WatchPart.ALARMS, one.one.alarm, one.problem) for one in crossed.failed]
    return sum(crossed.done), failed


async def _tell_of_unseen(
    connection: AsyncConnection, failed: Iterable[Unseen], raised: frozenset[str], now: datetime
) -> int:
    """Tell which parts could not be looked at, and which can be again; return how many alerts."""
    by_part = {part: [one for one in failed if one.part is part] for part in WatchPart}
    crossings = [
        unseen(part, those, now, activity.info().workflow_id or "")
        if those
        else seen_again(part, now)
        for part, those in by_part.items()
        if those or AlarmKind.WATCH.of(part) in raised
    ]
    alerted = 0
    for one in crossings:
        alerted += await alerts.cross(
            connection, one.alarm, raised=one.raised, alert=one.alert, depth=one.depth
        )
    return alerted
