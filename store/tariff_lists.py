"""Lists of tariffs of any kind: all, or what is in effect, or what may be for an organisation."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Select, Table, func, or_, select
from sqlalchemy.dialects.postgresql import distinct_on

from store.schema import wallets


def listing(
    table: Table,
    scope: Sequence[Column[Any]],
    after: str | None,
    *,
    org_id: str | None,
    in_effect: bool,
) -> Select[Any]:
    """List by id, from the one after `after`; with `in_effect`, of each scope the one that is now.

    Of an organisation are its own and the defaults, in its wallet's currency.
    """
    (key,) = table.primary_key
    query = select(key)
    if in_effect:
        query = query.ext(distinct_on(*scope)).where(table.c.effective_from <= func.now())
        query = query.order_by(*scope, table.c.effective_from.desc())
    if org_id is not None:
        its_own = select(wallets.c.currency).where(wallets.c.org_id == org_id).scalar_subquery()
        query = query.where(or_(table.c.org_id == org_id, table.c.org_id.is_(None)))
        query = query.where(table.c.wallet_currency == its_own)
    chosen = select(table).where(key.in_(query)).order_by(key)
    return chosen if after is None else chosen.where(key > after)
