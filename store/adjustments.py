"""Adjustments: what was asked for, and what became of it."""

from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Select, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.adjustments import (
    Adjustment,
    AdjustmentState,
    ApprovalVerdict,
    Decision,
    Direction,
    Proposal,
    Who,
    workflow_id,
)
from billing.errors import NotFound
from billing.ledger.entry import Account, Entry, Outcome, Posting, Refusal, adjustment_key
from billing.ledger.money import Currency, Money
from billing.parking.adjustments import decision_record
from billing.parking.admin_log import asked_for, decided_adjustment
from store import admin_log, parking
from store.database.pages import newest_first
from store.ledger import ledger
from store.organizations import api_keys
from store.schema import adjustments as table

_WHO = TypeAdapter(Who)
_DECISION = TypeAdapter(Decision)
_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtext(:name))")


async def create(
    connection: AsyncConnection, proposal: Proposal, at: datetime, expires_at: datetime
) -> Adjustment:
    """Keep a proposal as pending; one of this id that exists is answered as it stands."""
    row = _row(proposal)
    row |= {"requested_at": at, "expires_at": expires_at, "state": AdjustmentState.PENDING}
    new = insert(table).values(row).on_conflict_do_nothing().returning(table.c.adjustment_id)
    if (await connection.execute(new)).first() is not None:
        await admin_log.write(connection, asked_for(proposal))
    return await read(connection, proposal.adjustment_id)


async def adjusted_alone(connection: AsyncConnection, proposal: Proposal, at: datetime) -> int:
    """Sum up what one person will have adjusted without another on the day of `at`, with this one.

    In minor units of its currency. From here to the end of the transaction the keys of that person
    open nothing else; the lock is by the oldest of them, which stays so whatever is made meanwhile.
    """
    key_id = proposal.requested_by.key_id
    keys = await api_keys.of_one_person(connection, key_id) if key_id else [""]
    await connection.execute(_ONE_AT_A_TIME, {"name": f"adjustments of {keys[0]}"})
    day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    before = select(func.coalesce(func.sum(table.c.amount_minor), 0)).where(
        table.c.requested_by["key_id"].astext == func.any(keys),
        table.c.requested_at >= day,
        table.c.currency == proposal.amount.currency,
        table.c.needs_approval.is_(False),
        table.c.state.in_([AdjustmentState.PENDING, AdjustmentState.APPLIED]),
        table.c.adjustment_id != proposal.adjustment_id,
    )
    return int(await connection.scalar(before) or 0) + proposal.amount.amount_minor


async def read(
    connection: AsyncConnection, adjustment_id: str, *, lock: bool = False
) -> Adjustment:
    """Read an adjustment, if asked so under a lock; raise NotFound."""
    found = await find(connection, adjustment_id, lock=lock)
    if found is None:
        raise NotFound(f"there is no adjustment {adjustment_id}")
    return found


async def find(
    connection: AsyncConnection, adjustment_id: str, *, lock: bool = False
) -> Adjustment | None:
    """Read an adjustment, None when there is none."""
    query = select(table).where(table.c.adjustment_id == adjustment_id)
    found = await _read(connection, query.with_for_update() if lock else query)
    return found[0] if found else None


async def settle(connection: AsyncConnection, adjustment: Adjustment) -> None:
    """Record what became of an adjustment, whose entry is made in the same transaction.

    What a person has decided about it is recorded with it, and among all decisions.
    """
    decision, posting = adjustment.decision, adjustment.posting
    refusal = posting and posting.refusal
    values = {
        "state": adjustment.state,
        "settled_at": adjustment.settled_at,
        "decision": decision and _DECISION.dump_python(decision, mode="json"),
        "balance_before_minor": posting and posting.balance_before.amount_minor,
        "over_by_minor": refusal and refusal.over_by.amount_minor,
    }
    await connection.execute(
        update(table).where(table.c.adjustment_id == adjustment.adjustment_id).values(values)
    )
    record = decision_record(adjustment)
    if record is not None and not await _is_discarded(connection, adjustment):
        await parking.record(connection, [record])
        change = decided_adjustment(adjustment)
        if change is not None:
            await admin_log.write(connection, change)


async def page(
    connection: AsyncConnection, org_id: str, before: int | None, limit: int
) -> list[Adjustment]:
    """List an organisation's adjustments, newest first, from the one before position `before`."""
    query = select(table).where(table.c.org_id == org_id)
    return await _read(connection, newest_first(query, table.c.position, before, limit))


async def _is_discarded(connection: AsyncConnection, adjustment: Adjustment) -> bool:
    """Whether it is rejected because its process was discarded: that is recorded already."""
    decision = adjustment.decision
    if decision is None or decision.verdict is not ApprovalVerdict.REJECTED or decision.by.key_id:
        return False
    process = workflow_id(adjustment.adjustment_id)
    return await parking.is_discarded(connection, process, decision.note)


async def _read(connection: AsyncConnection, query: Select[Any]) -> list[Adjustment]:
    rows = (await connection.execute(query)).all()
    keys = [adjustment_key(row.adjustment_id) for row in rows]
    entries = await ledger.by_keys(connection, keys)
    return [_adjustment(row, entries.get(key)) for row, key in zip(rows, keys, strict=True)]


def _row(proposal: Proposal) -> dict[str, Any]:
    return {
        "adjustment_id": proposal.adjustment_id,
        "org_id": proposal.org_id,
        "direction": proposal.direction,
        "amount_minor": proposal.amount.amount_minor,
        "currency": proposal.amount.currency,
        "account": proposal.account,
        "reason": proposal.reason,
        "allow_below_limit": proposal.allow_below_limit,
        "needs_approval": proposal.needs_approval,
        "requested_by": _WHO.dump_python(proposal.requested_by, mode="json"),
    }


def _adjustment(row: Any, entry: Entry | None) -> Adjustment:
    return Adjustment(
        adjustment_id=row.adjustment_id,
        org_id=row.org_id,
        direction=Direction(row.direction),
        amount=Money(row.amount_minor, Currency(row.currency)),
        account=Account(row.account),
        reason=row.reason,
        allow_below_limit=row.allow_below_limit,
        needs_approval=row.needs_approval,
        requested_by=_WHO.validate_python(row.requested_by),
        requested_at=row.requested_at,
        expires_at=row.expires_at,
        position=row.position,
        state=AdjustmentState(row.state),
        decision=row.decision and _DECISION.validate_python(row.decision),
        settled_at=row.settled_at,
        posting=_posting(row, entry),
    )


def _posting(row: Any, entry: Entry | None) -> Posting | None:
    """Put the posting together again out of the entry or, refused, of what was in its way."""
    if row.balance_before_minor is None:
        return None
    before = Money(row.balance_before_minor, Currency(row.currency))
    if entry is not None:
        return Posting(Outcome.APPLIED, entry, before, entry.balance_after)
    would_be = before - Money(row.amount_minor, before.currency)
    over_by = Money(row.over_by_minor, before.currency)
    refusal = Refusal("debt_limit", would_be=would_be, over_by=over_by)
    return Posting(Outcome.REFUSED, None, before, before, refusal)
