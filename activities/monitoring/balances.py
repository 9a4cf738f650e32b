"""Look at all balances, and store the alerts about those that got worse or well."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from activities.temporal.isolation import Apart, apart, each_apart
from billing.alerts.alert import Alert
from billing.alerts.balances import BalanceChange, balance_alerts
from billing.alerts.outage import Unseen
from billing.alerts.watch import WatchPart
from store.alerts import alerts, balances


async def changed(connection: AsyncConnection) -> Apart[str, BalanceChange]:
    """Read what changed. A wallet that cannot be looked at is set aside, and hides no other."""

    async def look(org_ids: Sequence[str] | None) -> list[BalanceChange]:
        async with connection.begin_nested():
            return await balances.changed(connection, org_ids)

    together = await each_apart([None], look, lambda _: "all balances", all_may_fail=True)
    if together.done:
        return Apart(tuple(together.done[0]))
    org_ids = await balances.watched(connection)
    if not org_ids:
        raise together.failed[0].failure
    return await apart(org_ids, look, "the balance of {}".format, one_is_alone=True)


async def alert_changes(
    connection: AsyncConnection, changes: Sequence[BalanceChange], now: datetime
) -> tuple[int, list[Unseen]]:
    """Store the alerts about these; return how many, and of whom none can be stored."""

    async def set_part(part: Sequence[BalanceChange]) -> Sequence[BalanceChange]:
        async with connection.begin_nested():
            await alerts.set_depths(connection, {one.alarm: one.depth for one in part})
        return part

    async def tell_part(part: Sequence[Alert]) -> list[bool]:
        async with connection.begin_nested():
            return [await alerts.tell(connection, alert) for alert in part]

    alarmed = await apart(changes, set_part, lambda one: one.alarm, one_is_alone=True)
    due = balance_alerts(alarmed.done, now)
    told = await apart(due, tell_part, lambda one: one.key, one_is_alone=True)
    failed = [(one.one.wallet.org_id, one.problem) for one in alarmed.failed]
    failed += [(one.one.key, one.problem) for one in told.failed]
    unset = [Unseen(WatchPart.BALANCES, name, problem) for name, problem in failed]
    return sum(told.done), unset
