"""The table of prices of messages: read, and added to; a row that is there stays as it is."""

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from sqlalchemy import func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.errors import ChangesThePast, Conflict
from billing.message import MessageState
from billing.money import Currency
from billing.sms_tariff import SmsTariff, overtaken
from store import tariffs
from store.schema import messages, sms_tariffs, wallets
from store.tariff_lists import listing

table = sms_tariffs


async def for_organizations(
    connection: AsyncConnection, org_ids: Collection[str]
) -> list[SmsTariff]:
    """Read the default prices and the organisations' own, of all destinations and times."""
    query = select(table).where(
        or_(table.c.org_id.is_(None), table.c.org_id == func.any(list(org_ids)))
    )
    return [_of(row) for row in await connection.execute(query)]


async def add(connection: AsyncConnection, new: SmsTariff) -> bool:
    """Add a price; False when it is there already, the very same.

    One at a time, for what is in effect decides what may be added. Raises Conflict when its id or
    its place is taken, and ChangesThePast.
    """
    await tariffs.lock(connection)
    rows = await connection.execute(select(table))
    others = {row.sms_tariff_id: _of(row) for row in rows}
    if others.get(new.sms_tariff_id) == new:
        return False
    _require_free(new, others.values())
    changed = overtaken(new, others.values(), await tariffs.now(connection))
    if changed is not None:
        raise ChangesThePast(
            f"{changed.sms_tariff_id} was in effect then: let this one begin later than now"
        )
    await connection.execute(insert(table).values(asdict(new)))
    return True


async def page(
    connection: AsyncConnection,
    after: str | None,
    limit: int,
    *,
    org_id: str | None = None,
    in_effect: bool = False,
) -> list[SmsTariff]:
    """List prices by id: all, or those that are or may come to be in effect for an organisation.

    With `in_effect`, of each organisation, wallet currency and prefix the one that is now.
    """
    scope = (table.c.org_id, table.c.wallet_currency, table.c.prefix)
    query = listing(table, scope, after, org_id=org_id, in_effect=in_effect).limit(limit)
    return [_of(row) for row in await connection.execute(query)]


async def waiting(
    connection: AsyncConnection, org_id: str | None, currency: Currency, limit: int
) -> list[tuple[str, str]]:
    """Of messages that wait for a price, the organisation and the message's id; oldest first.

    Those of one organisation, or of all whose wallets are in this currency.
    """
    query = (
        select(messages.c.org_id, messages.c.sid)
        .join(wallets, wallets.c.org_id == messages.c.org_id)
        .where(messages.c.state == MessageState.NO_TARIFF, wallets.c.currency == currency)
        .order_by(messages.c.sent_at, messages.c.sid)
        .limit(limit)
    )
    if org_id is not None:
        query = query.where(messages.c.org_id == org_id)
    return [(row.org_id, row.sid) for row in await connection.execute(query)]


def _of(row: Any) -> SmsTariff:
    return SmsTariff(
        sms_tariff_id=row.sms_tariff_id,
        prefix=row.prefix,
        currency=Currency(row.currency),
        price_minor_per_segment=row.price_minor_per_segment,
        fx_rate=row.fx_rate,
        wallet_currency=Currency(row.wallet_currency),
        effective_from=row.effective_from,
        org_id=row.org_id,
    )


def _require_free(new: SmsTariff, others: Collection[SmsTariff]) -> None:
    """Raise Conflict for an id that is taken, or a second one that begins at the same moment."""
    for one in others:
        place = (one.org_id, one.wallet_currency, one.prefix, one.effective_from)
        if one.sms_tariff_id == new.sms_tariff_id:
            raise Conflict(f"{one.sms_tariff_id} exists with other figures, and stays as it is")
        if place == (new.org_id, new.wallet_currency, new.prefix, new.effective_from):
            raise Conflict(f"{one.sms_tariff_id} begins at the same moment")
