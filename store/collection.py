"""What waits, of all kinds together: for an organisation's money, or for its process to go on."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import RowMapping, exists, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.calls.call import CallState, EndedCall
from billing.collection import WaitingKind
from billing.messages.message import MessageState, SeenMessage
from store.calls import owners as owners_of_calls
from store.calls import waiting_calls
from store.messages import messages, waiting_messages
from store.messages import owners as owners_of_messages

# What waits, by name. Each of the first two is read from an index that holds only what waits. By
# the time that `is_old` names, the process of what waits was begun, and lists show it. A wallet may
# have as much as a column holds: sums are made of `numeric`.
_WAITING: Mapping[WaitingKind, str] = {
    WaitingKind.CALL: """
        SELECT call_id AS name, calls.org_id, state, facts,
               calls.updated_at < now() - interval '1 hour' AS is_old,
               coalesce(waiting_minor, amount_minor, 0)
                   <= CAST(balance_minor AS numeric) + debt_limit_minor AS fits
        FROM calls LEFT JOIN wallets ON wallets.org_id = calls.org_id
        WHERE state NOT IN ('settled', 'discarded') AND call_id""",
    WaitingKind.MESSAGE: """
        SELECT sid AS name, messages.org_id, state,
               jsonb_build_object('sid', sid, 'account_sid', account_sid, 'status', status)
                   AS facts,
               messages.updated_at < now() - interval '1 hour' AS is_old,
               amount_minor <= CAST(balance_minor AS numeric) + debt_limit_minor AS fits
        FROM messages LEFT JOIN wallets ON wallets.org_id = messages.org_id
        WHERE state IN ('unknown_channel', 'unknown_segments', 'unknown_sender', 'no_tariff',
                        'debt_limit')
          AND sid""",
    WaitingKind.ADJUSTMENT: """
        SELECT adjustment_id AS name, org_id, state, NULL AS facts,
               requested_at < now() - interval '1 hour' AS is_old, false AS fits
        FROM adjustments WHERE state = 'pending' AND adjustment_id""",
    # An organisation has one attempt at most that is under way.
    WaitingKind.RECHARGE: """
        SELECT org_id AS name, org_id, state, NULL AS facts,
               written_at < now() - interval '1 hour' AS is_old, false AS fits
        FROM recharge_attempts WHERE state IN ('open', 'requires_action') AND org_id""",
}
_NEXT = "> :after ORDER BY name LIMIT :limit"
_NAMED = "= ANY(:names) ORDER BY name"
_FACTS: Mapping[WaitingKind, TypeAdapter[Any]] = {
    WaitingKind.CALL: TypeAdapter(EndedCall),
    WaitingKind.MESSAGE: TypeAdapter(SeenMessage),
}


@dataclass(frozen=True, slots=True)
class StillWaiting:
    """Something that waits, with the facts to begin its process anew; None: nobody can read them.

    `payable_by` is the organisation whose wallet can pay it by now, if it waits for that.
    """

    name: str
    state: str
    is_old: bool
    facts: EndedCall | SeenMessage | None
    payable_by: str | None = None


async def waits(connection: AsyncConnection, org_id: str) -> bool:
    """Return whether anything of an organisation waits for money."""
    found = or_(
        exists().where(waiting_calls.waits_for_money(org_id)),
        exists().where(waiting_messages.waits_for_money(org_id)),
    )
    return bool(await connection.scalar(select(found)))


async def names(
    connection: AsyncConnection, kind: WaitingKind, after: str, limit: int
) -> list[str]:
    """List the names of what waits of a kind, in their order, from the one after `after`."""
    query = text(f"SELECT name FROM ({_WAITING[kind]} {_NEXT}) AS waiting")  # noqa: S608
    return list(await connection.scalars(query, {"after": after, "limit": limit}))


async def read(
    connection: AsyncConnection, kind: WaitingKind, named: Collection[str]
) -> list[StillWaiting]:
    """Read those of these that still wait, in the order of their names."""
    query = text(f"{_WAITING[kind]} {_NAMED}")
    found = await connection.execute(query, {"names": list(named)})
    waiting = [_waiting(kind, row) for row in found.mappings()]
    owners = await _owners(connection, kind, waiting)
    return [replace(one, payable_by=owners.get(one.name, one.payable_by)) for one in waiting]


async def _owners(
    connection: AsyncConnection, kind: WaitingKind, waiting: Iterable[StillWaiting]
) -> Mapping[str, str]:
    """Find owners, by name, for those that were nobody's when they were last looked at."""
    lost = [one for one in waiting if one.facts is not None]
    if kind is WaitingKind.CALL:
        ended = [one.facts for one in lost if one.state == CallState.UNKNOWN_ASSISTANT]
        known = [one for one in ended if isinstance(one, EndedCall)]
        return await owners_of_calls.of_calls(connection, known) if known else {}
    sids = [one.name for one in lost if one.state == MessageState.UNKNOWN_SENDER]
    if kind is WaitingKind.MESSAGE and sids:
        sent = await messages.read_many(connection, sids)
        return await owners_of_messages.of_messages(connection, sent)
    return {}


def _waiting(kind: WaitingKind, row: RowMapping) -> StillWaiting:
    waits_for_money = row["state"] == CallState.DEBT_LIMIT and row["fits"]
    return StillWaiting(
        name=row["name"],
        state=row["state"],
        is_old=row["is_old"],
        facts=_facts(kind, row["facts"]),
        payable_by=row["org_id"] if waits_for_money else None,
    )


def _facts(kind: WaitingKind, written: Any) -> EndedCall | SeenMessage | None:
    """Read the facts of a row. Somebody may have edited it: one that is bad stops no other."""
    if kind not in _FACTS:
        return None
    try:
        facts: EndedCall | SeenMessage = _FACTS[kind].validate_python(written)
    except ValidationError:
        return None
    return facts
