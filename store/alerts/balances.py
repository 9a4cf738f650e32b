"""The wallets that got worse, or are well again, since the last alert about them."""

from collections.abc import Sequence

from sqlalchemy import Integer, Numeric, and_, case, exists, func, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.alerts.alert import AlarmKind
from billing.alerts.balances import DEBT_MARKS, WELL_ABOVE_PERCENT, BalanceChange, BalanceDepth
from store.ledger.wallets import of as wallets_of
from store.schema import alarms, ledger_entries, wallets

_NAME = literal(AlarmKind.BALANCE.of("")) + wallets.c.org_id
_ALERTED = func.coalesce(alarms.c.depth, int(BalanceDepth.OK))
# A hundred times what a column can hold is more than that: one such wallet would stop all alerts.
_BALANCE, _LIMIT, _LOW = (
    column.cast(Numeric)
    for column in (wallets.c.balance_minor, wallets.c.debt_limit_minor, wallets.c.low_balance_minor)
)
_FILLS_UP = wallets.c.recharge_below_minor.is_not(None)
# What `billing.alerts.balances` says of one wallet is said here in SQL, so that only wallets that
# changed leave the database. A test holds the two to each other.
_DEPTH = case(
    *(
        (
            percent * _LIMIT <= -_BALANCE * 100,
            literal(depth.value),
        )
        for percent, depth in DEBT_MARKS
    ),
    (
        and_(_BALANCE < _LOW, ~_FILLS_UP),
        literal(BalanceDepth.LOW.value),
    ),
    else_=literal(BalanceDepth.OK.value),
).cast(Integer)
_IS_WELL = and_(
    _BALANCE > _LOW,
    (_BALANCE - _LOW) * 100 >= _LOW * WELL_ABOVE_PERCENT,
)
# A wallet without any entry is new and empty, which is no reason for an alert.
_WAS_USED = exists().where(ledger_entries.c.org_id == wallets.c.org_id)
_CHANGED = (
    select(wallets.c.org_id, _ALERTED.label("told"))
    .select_from(wallets.outerjoin(alarms, and_(alarms.c.alarm == _NAME, alarms.c.raised)))
    .where(or_(and_(_ALERTED < _DEPTH, _WAS_USED), and_(alarms.c.raised, _IS_WELL)))
    .order_by(wallets.c.org_id)
)


async def watched(connection: AsyncConnection) -> list[str]:
    """List the organisations whose wallets are watched: all."""
    return list(await connection.scalars(select(wallets.c.org_id).order_by(wallets.c.org_id)))


async def changed(
    connection: AsyncConnection, org_ids: Sequence[str] | None = None
) -> list[BalanceChange]:
    """Read the wallets that an alert is due for, with the depth of the last one.

    With `org_ids` only these are looked at. A wallet is read after the query that found it, and may
    have changed in between: so it is judged again.
    """
    query = _CHANGED
    if org_ids is not None:
        query = query.where(wallets.c.org_id == func.any(list(org_ids)))
    alerted = {row.org_id: BalanceDepth(row.told) for row in await connection.execute(query)}
    found = await wallets_of(connection, alerted)
    changes = [BalanceChange(found[org_id], depth) for org_id, depth in alerted.items()]
    return [change for change in changes if change.is_news]
