"""Calls: charge them in sets, and keep what became of each."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import and_, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.call import (
    CallBill,
    CallRecord,
    CallState,
    EndedCall,
    bill,
    call_transfer,
    call_workflow_id,
    rate,
)
from billing.errors import NotFound
from billing.ledger import Booked, Posting, call_key
from billing.money import Currency, Money
from billing.tariff import Charge
from billing.wallet import Wallet
from store import agents, ledger, tariffs, wallets
from store.rowset import rowset
from store.schema import agents as agents_table
from store.schema import calls as table

FACTS = TypeAdapter(EndedCall)


@dataclass(frozen=True, slots=True)
class WaitingCall:
    """A call that could not be settled, and why."""

    call: EndedCall
    state: CallState


_FINAL = (CallState.SETTLED, CallState.DISCARDED)

_seen = rowset(
    column for column in table.c if column.name not in ("position", "first_seen_at", "updated_at")
)
_new = insert(table).from_select(_seen.c.keys(), select(_seen))
_updated = {column.name: column for column in _new.excluded if column.name in _seen.c}
# What is settled or discarded stays as it is, unless Vapi's API itself says something else.
_RECORD = _new.on_conflict_do_update(
    index_elements=["call_id"],
    set_={**_updated, "updated_at": func.now()},
    where=or_(
        table.c.state.not_in(_FINAL),
        and_(
            table.c.state == CallState.SETTLED,
            _new.excluded.state.in_((CallState.SETTLED, CallState.DEBT_LIMIT)),
            _new.excluded.facts["provider_ended"].astext == "true",
        ),
    ),
)


async def charge(
    connection: AsyncConnection, calls: Sequence[EndedCall], settled_by: str | None = None
) -> list[CallBill]:
    """Charge any number of calls, one after another; answers in the same order.

    Both lanes come here. In the caller's transaction: finds the organisations, locks their wallets
    in id order, rates, posts what a wallet can pay, and records where every call now stands, so
    that a refused charge is known to wait in the same instant in which it is refused.
    `settled_by` names the workflow if it is another than the call's own.
    """
    owners = await agents.owners(connection, calls) | await _payers(connection, calls)
    locked = await wallets.lock(connection, set(owners.values()))
    rates = await tariffs.for_organizations(connection, set(owners.values()))
    discarded = await _discarded(connection, [call.call_id for call in calls])
    payers = {call.call_id: locked.get(owners.get(call.call_id, "")) for call in calls}
    rated = {
        call.call_id: CallState.DISCARDED
        if call.call_id in discarded
        else rate(call, payers[call.call_id], rates)
        for call in calls
    }
    postings = await _post(connection, locked, owners, rated, calls)
    bills = [
        bill(call.call_id, payers[call.call_id], rated[call.call_id], postings.get(call.call_id))
        for call in calls
    ]
    await _record(connection, zip(calls, bills, strict=True), settled_by)
    return bills


async def waiting(connection: AsyncConnection, org_id: str, limit: int) -> dict[str, WaitingCall]:
    """Read the calls that wait for an organisation, by id, oldest first.

    They wait for its money; or for the registration of their assistant, and now it has one.
    """
    registered = select(agents_table.c.agent_id).where(agents_table.c.org_id == org_id)
    query = (
        select(table.c.call_id, table.c.facts, table.c.state)
        .where(
            or_(
                and_(table.c.org_id == org_id, table.c.state == CallState.DEBT_LIMIT),
                and_(
                    table.c.state == CallState.UNKNOWN_ASSISTANT,
                    or_(
                        table.c.facts["assistant_id"].astext.in_(registered),
                        table.c.facts["phone_number_id"].astext.in_(registered),
                    ),
                ),
            )
        )
        .order_by(table.c.ended_at, table.c.call_id)
        .limit(limit)
    )
    return {
        row.call_id: WaitingCall(FACTS.validate_python(row.facts), CallState(row.state))
        for row in await connection.execute(query)
    }


async def discard(connection: AsyncConnection, call: EndedCall, note: str) -> bool:
    """Record that a person gave this charge up; False when the call is settled already."""
    row = {
        "call_id": call.call_id,
        "state": CallState.DISCARDED,
        "facts": FACTS.dump_python(call, mode="json"),
        "ended_at": call.ended_at,
        "workflow_id": call_workflow_id(call.call_id),
        "note": note,
    }
    done = await connection.execute(
        insert(table)
        .values(row)
        .on_conflict_do_update(
            index_elements=["call_id"],
            set_={"state": CallState.DISCARDED, "note": note, "updated_at": func.now()},
            where=table.c.state != CallState.SETTLED,
        )
        .returning(table.c.call_id)
    )
    return done.first() is not None


async def read(connection: AsyncConnection, call_id: str) -> CallRecord:
    """Read one call; raises NotFound."""
    found = await connection.execute(select(table).where(table.c.call_id == call_id))
    row = found.one_or_none()
    if row is None:
        raise NotFound(f"no call {call_id} has been received")
    return _call_record(row)


async def page(
    connection: AsyncConnection,
    org_id: str,
    before: int | None,
    limit: int,
    state: CallState | None = None,
) -> list[CallRecord]:
    """List an organisation's calls, newest first, from the one before position `before`."""
    query = select(table).where(table.c.org_id == org_id)
    if before is not None:
        query = query.where(table.c.position < before)
    if state is not None:
        query = query.where(table.c.state == state)
    query = query.order_by(table.c.position.desc()).limit(limit)
    return [_call_record(row) for row in await connection.execute(query)]


async def _discarded(connection: AsyncConnection, call_ids: Collection[str]) -> set[str]:
    query = select(table.c.call_id).where(
        table.c.call_id == func.any(list(call_ids)), table.c.state == CallState.DISCARDED
    )
    return {row.call_id for row in await connection.execute(query)}


async def _post(
    connection: AsyncConnection,
    locked: Mapping[str, Wallet],
    owners: Mapping[str, str],
    rated: Mapping[str, Charge | CallState],
    calls: Iterable[EndedCall],
) -> dict[str, Posting]:
    """Post what is to be charged or corrected; answers by call id."""
    booked = await _booked(connection, calls)
    transfers = {
        call.call_id: transfer
        for call in calls
        if isinstance(charge := rated[call.call_id], Charge)
        and (
            transfer := call_transfer(call, owners[call.call_id], charge, booked.get(call.call_id))
        )
    }
    postings = await ledger.post_locked(connection, locked, list(transfers.values()))
    return dict(zip(transfers, postings, strict=True))


async def _payers(connection: AsyncConnection, calls: Iterable[EndedCall]) -> dict[str, str]:
    """Say who paid: a correction is theirs, whoever has the assistant now."""
    booked = await _booked(connection, calls)
    return {call_id: one.org_id for call_id, one in booked.items()}


async def _booked(connection: AsyncConnection, calls: Iterable[EndedCall]) -> dict[str, Booked]:
    """Read what was charged for calls whose facts are from Vapi's API, and may correct it."""
    keys = {call_key(call.call_id): call.call_id for call in calls if call.provider_ended}
    found = await ledger.booked(connection, keys) if keys else {}
    return {keys[key]: booked for key, booked in found.items()}


async def _record(
    connection: AsyncConnection,
    billed: Iterable[tuple[EndedCall, CallBill]],
    settled_by: str | None,
) -> None:
    rows = [_row(call, one, settled_by) for call, one in billed]
    await connection.execute(_RECORD, {"rows": rows})


def _row(call: EndedCall, one: CallBill, settled_by: str | None) -> dict[str, Any]:
    charge = one.charge
    by_another = settled_by if one.state is CallState.SETTLED else None
    return {
        "call_id": call.call_id,
        "org_id": one.org_id,
        "state": one.state,
        "facts": FACTS.dump_python(call, mode="json", exclude_defaults=True),
        "ended_at": call.ended_at,
        "billed_seconds": charge and charge.billed_seconds,
        "rated_minor": charge and charge.rated.amount_minor,
        "rated_currency": charge and charge.rated.currency,
        "amount_minor": charge and charge.amount.amount_minor,
        "currency": charge and charge.amount.currency,
        "tariff_id": charge and charge.tariff_id,
        "workflow_id": by_another or call_workflow_id(call.call_id),
        "note": charge.explain() if charge else "",
    }


def _call_record(row: Any) -> CallRecord:
    return CallRecord(
        position=row.position,
        call=FACTS.validate_python(row.facts),
        state=CallState(row.state),
        org_id=row.org_id,
        charge=None if row.amount_minor is None else _charge(row),
        workflow_id=row.workflow_id,
        note=row.note,
        first_seen_at=row.first_seen_at,
        updated_at=row.updated_at,
    )


def _charge(row: Any) -> Charge:
    return Charge(
        amount=Money(row.amount_minor, Currency(row.currency)),
        rated=Money(row.rated_minor, Currency(row.rated_currency)),
        billed_seconds=row.billed_seconds,
        tariff_id=row.tariff_id,
    )
