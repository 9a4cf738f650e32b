"""What customers and operators have set about recharging, and why it is suspended."""

from dataclasses import asdict
from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.platform_rules import PlatformRules
from billing.recharges.history import Caps, CardCaps, RechargeSettings, Suspension, recharge_below
from store.ledger import wallets
from store.schema import card_caps
from store.schema import recharge_settings as table
from store.schema import wallets as wallets_table

_SETTINGS = tuple(RechargeSettings.__dataclass_fields__)


async def configure(connection: AsyncConnection, org_id: str, wanted: RechargeSettings) -> None:
    """Keep an organisation's settings, and copy the threshold to its wallet, where charges read it.

    The copy saves every charge a look at the settings.
    """
    values = asdict(wanted)
    await connection.execute(
        insert(table)
        .values(org_id=org_id, **values)
        .on_conflict_do_update(index_elements=["org_id"], set_={**values, "updated_at": func.now()})
    )
    await connection.execute(
        update(wallets_table)
        .where(wallets_table.c.org_id == org_id)
        .values(recharge_below_minor=recharge_below(wanted))
    )


async def read(connection: AsyncConnection, org_id: str) -> RechargeSettings:
    """Read an organisation's settings; those by default where nobody has set any."""
    row = (await connection.execute(select(table).where(table.c.org_id == org_id))).one_or_none()
    return of(row) if row else RechargeSettings()


async def set_caps(connection: AsyncConnection, org_id: str, caps: CardCaps) -> CardCaps | None:
    """Keep what an operator has said about the caps of an organisation; the last word counts.

    Return the word before. The wallet is locked.
    """
    await wallets.lock(connection, [org_id])
    before = await said_caps(connection, org_id)
    await connection.execute(insert(card_caps).values(org_id=org_id, **asdict(caps)))
    return before


async def said_caps(connection: AsyncConnection, org_id: str) -> CardCaps | None:
    """Read what an operator has last said about the caps of an organisation."""
    query = select(*(card_caps.c[name] for name in CardCaps.__dataclass_fields__))
    last = query.where(card_caps.c.org_id == org_id).order_by(card_caps.c.cap_id.desc()).limit(1)
    row = (await connection.execute(last)).one_or_none()
    return CardCaps(*row) if row else None


async def suspend(connection: AsyncConnection, org_id: str, suspension: Suspension) -> None:
    """Keep why a card is not charged any more."""
    await connection.execute(
        update(table)
        .where(table.c.org_id == org_id)
        .values(
            suspended_code=suspension.code,
            suspended_at=suspension.since,
            suspended_card=suspension.fingerprint,
        )
    )


async def lift(connection: AsyncConnection, org_id: str) -> None:
    """End a suspension, and forgive the declines so far."""
    await connection.execute(
        update(table)
        .where(table.c.org_id == org_id)
        .values(
            lifted_number=table.c.last_number,
            suspended_code=None,
            suspended_at=None,
            suspended_card=None,
        )
    )


async def keeping_more(connection: AsyncConnection, rules: PlatformRules) -> dict[str, Caps]:
    """Read which organisations keep caps from before that are higher than those by default."""
    charge, day = table.c.kept_charge_minor, table.c.kept_day_minor
    query = (
        select(table.c.org_id, charge, day)
        .where(
            table.c.enabled,
            or_(charge > rules.recharge_charge_cap_minor, day > rules.recharge_day_cap_minor),
        )
        .order_by(table.c.org_id)
    )
    return {row[0]: Caps(row[1], row[2]) for row in await connection.execute(query)}


def of(row: Any) -> RechargeSettings:
    """Make the settings of their row."""
    return RechargeSettings(**{name: getattr(row, name) for name in _SETTINGS})


def suspension_in(row: Any) -> Suspension | None:
    """Make the suspension of the row of settings; None if there is none."""
    if row.suspended_code is None:
        return None
    return Suspension(row.suspended_code, row.suspended_at, row.suspended_card)
