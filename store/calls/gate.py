"""What the gate before a call reads, in one statement; and the freezes of wallets."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import FromClause, Select, and_, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.calls.call import CallState
from billing.calls.gate import Freeze, GateStanding
from billing.errors import NotFound
from billing.ledger.money import Currency, Money
from billing.messages.message import MessageState
from billing.organizations import AgentKind, Answerer
from store.schema import agents, calls, freezes, messages, tariffs, wallets
from store.tariffs import call_tariffs


@dataclass(frozen=True, slots=True)
class Number:
    """A phone number: what answers it, and how its organisation stands."""

    answerer: Answerer | None
    standing: GateStanding


_IN_FORCE = and_(freezes.c.org_id == wallets.c.org_id, freezes.c.thawed_at.is_(None))


def _standings(wallet: FromClause, *further: Any) -> Select[Any]:
    """Return the query for all that the gate needs of a wallet: a row for each tariff in question.

    Which tariff applies is decided by the same function that rates calls, and not in SQL. A wallet
    without a tariff has one row. All of it is one statement, for a caller waits for the answer.
    """
    waits = or_(
        exists().where(calls.c.org_id == wallets.c.org_id, calls.c.state == CallState.DEBT_LIMIT),
        exists().where(
            messages.c.org_id == wallets.c.org_id, messages.c.state == MessageState.DEBT_LIMIT
        ),
    )
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
    ).select_from(wallet.outerjoin(freezes, _IN_FORCE).outerjoin(tariffs, applies))


_answerer = agents.alias("answerer")
# Whoever has registered what answers pays, or else the number, as when the call is charged.
_OF_NUMBER = agents.outerjoin(_answerer, _answerer.c.agent_id == agents.c.answered_by).join(
    wallets, wallets.c.org_id == func.coalesce(_answerer.c.org_id, agents.c.org_id)
)


async def standing_of(connection: AsyncConnection, org_id: str) -> GateStanding:
    """Read how an organisation's wallet stands; raise NotFound."""
    query = _standings(wallets).where(wallets.c.org_id == org_id)
    rows = (await connection.execute(query)).mappings().all()
    if not rows:
        raise NotFound(f"there is no organization {org_id}")
    return _standing(rows)


async def standing_of_number(connection: AsyncConnection, phone_number_id: str) -> Number | None:
    """Read what answers a phone number, and how the wallet stands that pays for it.

    None when nobody has registered the number.
    """
    query = _standings(_OF_NUMBER, agents.c.answered_by, agents.c.answered_by_kind)
    query = query.where(agents.c.agent_id == phone_number_id)
    rows = (await connection.execute(query)).mappings().all()
    return Number(_answerer_in(rows[0]), _standing(rows)) if rows else None


async def frozen_numbers(connection: AsyncConnection) -> list[str]:
    """List the phone numbers for which a frozen organisation pays."""
    query = select(agents.c.agent_id).select_from(_OF_NUMBER.join(freezes, _IN_FORCE))
    return list(await connection.scalars(query))


async def freeze(connection: AsyncConnection, org_id: str, reason: str, frozen_by: str) -> Freeze:
    """Let a wallet start no calls from now on; raise NotFound.

    A new reason replaces the one before.
    """
    await standing_of(connection, org_id)
    new = insert(freezes).values(org_id=org_id, reason=reason, frozen_by=frozen_by)
    # The conflict is with the freeze in force, of which the partial unique index allows only one.
    made = await connection.execute(
        new.on_conflict_do_update(
            index_elements=["org_id"],
            index_where=freezes.c.thawed_at.is_(None),
            set_={"reason": reason, "frozen_by": frozen_by, "frozen_at": func.now()},
        ).returning(freezes.c.org_id, freezes.c.reason, freezes.c.frozen_by, freezes.c.frozen_at)
    )
    return Freeze(*made.one())


async def thaw(connection: AsyncConnection, org_id: str, thawed_by: str) -> None:
    """Let a wallet start calls again; raise NotFound if it is not frozen."""
    ended = await connection.execute(
        update(freezes)
        .where(freezes.c.org_id == org_id, freezes.c.thawed_at.is_(None))
        .values(thawed_by=thawed_by, thawed_at=func.now())
    )
    if not ended.rowcount:
        raise NotFound(f"{org_id} is not frozen")


def _answerer_in(row: Any) -> Answerer | None:
    """Return what answers; a number that version 0.1 registered has an assistant."""
    agent_id, kind = row[agents.c.answered_by], row[agents.c.answered_by_kind]
    if agent_id is None:
        return None
    return Answerer(agent_id, AgentKind(kind or AgentKind.ASSISTANT))


def _standing(rows: Any) -> GateStanding:
    first = rows[0]
    currency = Currency(first[wallets.c.currency])
    return GateStanding(
        org_id=first[wallets.c.org_id],
        balance=Money(first[wallets.c.balance_minor], currency),
        debt_limit_minor=first[wallets.c.debt_limit_minor],
        at=first["at"],
        tariffs=[call_tariffs.of(row) for row in rows if row[tariffs.c.tariff_id] is not None],
        charges_waiting=first["charges_waiting"],
        frozen_reason=first[freezes.c.reason],
    )
