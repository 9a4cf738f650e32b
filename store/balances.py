"""Which wallets have changed for the worse, or are well again, since people were told of them."""

from sqlalchemy import Integer, and_, case, exists, func, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

import store.wallets
from billing.alarms.balances import DEBT_MARKS, WELL_ABOVE_PERCENT, BalanceChange, BalanceDepth
from billing.alert import AlarmKind
from store.schema import alarms, ledger_entries, wallets

_NAME = literal(AlarmKind.BALANCE.of("")) + wallets.c.org_id
_TOLD = func.coalesce(alarms.c.depth, int(BalanceDepth.OK))
_FILLS_UP = wallets.c.recharge_below_minor.is_not(None)
# The same as `billing.alarms.balances` says of one wallet; a test holds the two together.
_DEPTH = case(
    *(
        (
            -wallets.c.balance_minor * 100 >= percent * wallets.c.debt_limit_minor,
            literal(depth.value),
        )
        for percent, depth in DEBT_MARKS
    ),
    (
        and_(wallets.c.balance_minor < wallets.c.low_balance_minor, ~_FILLS_UP),
        literal(BalanceDepth.LOW.value),
    ),
    else_=literal(BalanceDepth.OK.value),
).cast(Integer)
_IS_WELL = and_(
    wallets.c.balance_minor > wallets.c.low_balance_minor,
    (wallets.c.balance_minor - wallets.c.low_balance_minor) * 100
    >= wallets.c.low_balance_minor * WELL_ABOVE_PERCENT,
)
# A wallet that nothing was ever paid into is empty, and that is nothing to tell of.
_WAS_USED = exists().where(ledger_entries.c.org_id == wallets.c.org_id)
_CHANGED = (
    select(wallets.c.org_id, _TOLD.label("told"))
    .select_from(wallets.outerjoin(alarms, and_(alarms.c.alarm == _NAME, alarms.c.raised)))
    .where(or_(and_(_TOLD < _DEPTH, _WAS_USED), and_(alarms.c.raised, _IS_WELL)))
    .order_by(wallets.c.org_id)
)


async def changed(connection: AsyncConnection) -> list[BalanceChange]:
    """Read the wallets of which people are to be told something, and what they were told."""
    told = {row.org_id: BalanceDepth(row.told) for row in await connection.execute(_CHANGED)}
    found = await store.wallets.of(connection, told)
    changes = [BalanceChange(found[org_id], depth) for org_id, depth in told.items()]
    return [change for change in changes if change.is_news]
