"""What the gate before a call asks for, in one statement; and who is frozen."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import FromClause, Select, and_, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.call import CallState
from billing.errors import NotFound
from billing.gate import Freeze, Standing
from billing.message import MessageState
from billing.money import Currency, Money
from store import tariffs as tariffs_store
from store.schema import agents, calls, freezes, messages, tariffs, wallets


@dataclass(frozen=True, slots=True)
class Number:
    """A phone number: the assistant that answers it, and how its organisation stands."""

    assistant_id: str | None
    standing: Standing


def _standings(wallet: FromClause, *further: Any) -> Select[Any]:
    """Read wallets with all that matters at the gate: a row for each tariff that may apply.

    Which one does, is decided where calls are rated too; without any there is one row.
    """
    waits = or_(
        exists().where(calls.c.org_id == wallets.c.org_id, calls.c.state == CallState.DEBT_LIMIT),
        exists().where(
            messages.c.org_id == wallets.c.org_id, messages.c.state == MessageState.DEBT_LIMIT
        ),
    )
    in_force = and_(freezes.c.org_id == wallets.c.org_id, freezes.c.thawed_at.is_(None))
    applies = and_(
        tariffs.c.wallet_currency == wallets.c.currency,
        or_(tariffs.c.org_id == wallets.c.org_id, tariffs.c.org_id.is_(None)),
        tariffs.c.effective_from <= func.now(),
    )
    return select(
        wallets.c.org_id,
        wallets.c.currency,
        wallets.c.balance_minor,
        wallets.c.debt_limit_minor,
        freezes.c.reason,
        waits.label("charges_waiting"),
        func.now().label("at"),
        *tariffs.c,
        *further,
    ).select_from(wallet.outerjoin(freezes, in_force).outerjoin(tariffs, applies))


_assistant = agents.alias("assistant")
# Who has registered the assistant pays, as when the call is charged; else who has the number.
_OF_NUMBER = agents.outerjoin(_assistant, _assistant.c.agent_id == agents.c.answered_by).join(
    wallets, wallets.c.org_id == func.coalesce(_assistant.c.org_id, agents.c.org_id)
)


async def standing_of(connection: AsyncConnection, org_id: str) -> Standing:
    """Read how an organisation's wallet stands; raises NotFound."""
    query = _standings(wallets).where(wallets.c.org_id == org_id)
    rows = (await connection.execute(query)).mappings().all()
    if not rows:
        raise NotFound(f"there is no organization {org_id}")
    return _standing(rows)


async def standing_of_number(connection: AsyncConnection, phone_number_id: str) -> Number | None:
    """Read who answers a phone number, and how whoever pays for that stands.

    None when nobody has registered the number.
    """
    query = _standings(_OF_NUMBER, agents.c.answered_by).where(agents.c.agent_id == phone_number_id)
    rows = (await connection.execute(query)).mappings().all()
    return Number(rows[0][agents.c.answered_by], _standing(rows)) if rows else None


async def freeze(connection: AsyncConnection, org_id: str, reason: str, frozen_by: str) -> Freeze:
    """Let a wallet start no calls from now on; a new reason replaces the one before.

    Raises NotFound.
    """
    await standing_of(connection, org_id)
    new = insert(freezes).values(org_id=org_id, reason=reason, frozen_by=frozen_by)
    made = await connection.execute(
        new.on_conflict_do_update(
            index_elements=["org_id"],
            index_where=freezes.c.thawed_at.is_(None),
            set_={"reason": reason, "frozen_by": frozen_by, "frozen_at": func.now()},
        ).returning(freezes.c.org_id, freezes.c.reason, freezes.c.frozen_by, freezes.c.frozen_at)
    )
    return Freeze(*made.one())


async def thaw(connection: AsyncConnection, org_id: str, thawed_by: str) -> None:
    """Let a wallet start calls again; raises NotFound when it is not frozen."""
    ended = await connection.execute(
        update(freezes)
        .where(freezes.c.org_id == org_id, freezes.c.thawed_at.is_(None))
        .values(thawed_by=thawed_by, thawed_at=func.now())
    )
    if not ended.rowcount:
        raise NotFound(f"{org_id} is not frozen")


def _standing(rows: Any) -> Standing:
    first = rows[0]
    currency = Currency(first[wallets.c.currency])
    return Standing(
        org_id=first[wallets.c.org_id],
        balance=Money(first[wallets.c.balance_minor], currency),
        debt_limit_minor=first[wallets.c.debt_limit_minor],
        at=first["at"],
        tariffs=[tariffs_store.of(row) for row in rows if row[tariffs.c.tariff_id] is not None],
        charges_waiting=first["charges_waiting"],
        frozen_reason=first[freezes.c.reason],
    )
