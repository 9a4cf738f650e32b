"""Calls that wait: those that can be charged by now, and those of which nothing new is told."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pydantic import ValidationError
from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.calls.call import CallState, EndedCall
from billing.calls.facts import merge
from billing.ledger.wallet import Wallet
from store.calls import owners
from store.calls.call_records import FACTS
from store.calls.call_statements import FINAL
from store.schema import calls as table

# What a call waits for. A row of version 0.1 says only what the call costs.
OWED = func.coalesce(table.c.waiting_minor, table.c.amount_minor, 0)


@dataclass(frozen=True, slots=True)
class WaitingCall:
    """A call that could not be settled, and why."""

    call: EndedCall
    state: CallState


async def chargeable(
    connection: AsyncConnection, wallet: Wallet, limit: int
) -> dict[str, WaitingCall]:
    """Read the calls that wait for an organisation, by id, oldest first.

    They wait for money that its wallet has by now, or waited for a registration by which they are
    known as its own now. What it cannot pay is left out, and so is what nobody can read: neither
    holds up what can be paid. Fewer than `limit` are all.
    """
    query = _chargeable(wallet).limit(limit)
    found: dict[str, WaitingCall] = {}
    unreadable: list[str] = []
    more = True
    while more and len(found) < limit:
        # Not from the last one on, for `ended_at` may be unknown.
        others = table.c.call_id != func.all([*found, *unreadable])
        rows = (await connection.execute(query.where(others))).all()
        for row in rows:
            facts = facts_of(row.facts)
            if facts is None:
                unreadable.append(row.call_id)
            else:
                found[row.call_id] = WaitingCall(facts, CallState(row.state))
        more = len(rows) == limit
    return dict(islice(found.items(), limit))


def _chargeable(wallet: Wallet) -> Select[Any]:
    """Return the query for the calls that a wallet can pay by now, or that came to be its own."""
    org_id = wallet.org_id
    return (
        select(table.c.call_id, table.c.facts, table.c.state)
        .where(
            or_(
                and_(waits_for_money(org_id), wallet.spendable_minor >= OWED),
                and_(
                    table.c.state == CallState.UNKNOWN_ASSISTANT,
                    owners.came_to_be_of(org_id),
                ),
            )
        )
        .order_by(table.c.ended_at, table.c.call_id)
    )


async def nothing_new(connection: AsyncConnection, told: Sequence[EndedCall]) -> set[str]:
    """Return the ids of those that wait, and of which nothing is told that is not known.

    To charge them would have the same end, unless their reason to wait goes meanwhile. Whoever
    makes it go away charges them, and so does their own process.
    """
    query = select(table.c.call_id, table.c.facts).where(
        table.c.call_id == func.any([call.call_id for call in told]), table.c.state.not_in(FINAL)
    )
    waiting = {row.call_id: row.facts for row in await connection.execute(query)}
    return waiting.keys() - {call.call_id for call in told if _is_new(call, waiting)}


async def done_with(connection: AsyncConnection, call_ids: Collection[str]) -> set[str]:
    """Return those that are settled or given up. No report changes that."""
    query = select(table.c.call_id).where(
        table.c.call_id == func.any(list(call_ids)), table.c.state.in_(FINAL)
    )
    return set(await connection.scalars(query))


def facts_of(written: Any) -> EndedCall | None:
    """Read what is written down of a call; None if nobody can: somebody has edited the row."""
    try:
        return FACTS.validate_python(written)
    except ValidationError:
        return None


def _is_new(call: EndedCall, waiting: Mapping[str, Any]) -> bool:
    """Return whether more is told of a call than is written down; also if nobody can read that."""
    known = facts_of(waiting.get(call.call_id))
    return known is None or merge(known, call) != known


def waits_for_money(org_id: str) -> ColumnElement[bool]:
    """Return the condition for the calls that an organisation could not pay."""
    return and_(table.c.org_id == org_id, table.c.state == CallState.DEBT_LIMIT)
