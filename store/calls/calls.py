"""Calls: charge them in sets, and keep what became of each."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.calls.call import (
    CallBill,
    CallState,
    EndedCall,
    bill,
    call_workflow_id,
    rate,
    why_unknown,
)
from billing.calls.call_record import CallRecord
from billing.calls.ended_reason import FreeRule
from billing.calls.facts import merge
from billing.ledger.entry import Outcome, Posting, Transfer
from billing.ledger.wallet import Wallet
from billing.tariffs.tariff import Charge
from store.calls import owners
from store.calls.call_records import FACTS, call_record
from store.calls.call_statements import KNOWN, LOCK, RECORD, RECORD_FACTS
from store.calls.free_call_rules import RULES
from store.calls.owners import Payers
from store.database import additions
from store.database.additions import Addition
from store.ledger import ledger
from store.tariffs import call_tariffs


@dataclass(frozen=True, slots=True)
class LockedCalls:
    """Calls that are locked: what is known of each by its id, and when; `now` is PostgreSQL's.

    `caps` are how long the gate let them in for, as long as it is not in their facts. `rules` say
    which ends make calls free. `refused_minor` is what the wallet was refused for.
    """

    records: Mapping[str, CallRecord]
    caps: Mapping[str, int]
    now: datetime | None
    rules: Sequence[FreeRule] = ()
    refused_minor: Mapping[str, int] = field(default_factory=dict)

    def with_known(self, call: EndedCall) -> EndedCall:
        """Return what is known of a call, now that this is told of it."""
        cap = self.caps.get(call.call_id)
        if cap is not None:
            call = merge(EndedCall(call.call_id, cap_seconds=cap), call)
        record = self.records.get(call.call_id)
        return merge(record.call, call) if record else call

    def was_refused(self, call_id: str, transfer: Transfer) -> bool:
        """Return whether a call is known to wait for its wallet to pay this very amount."""
        record = self.records.get(call_id)
        if record is None or record.state is not CallState.DEBT_LIMIT:
            return False
        is_same = self.refused_minor.get(call_id) == transfer.amount.amount_minor
        return is_same and record.org_id == transfer.org_id


async def charge(
    connection: AsyncConnection, calls: Sequence[EndedCall], settled_by: str | None = None
) -> list[CallBill]:
    """Charge any number of calls, one after another; return their bills in the same order.

    Both lanes come here. In the caller's transaction: lock the calls, add what is told to what is
    known of each, find the organisations, lock their wallets in id order, rate, post what a wallet
    can pay, and record where every call now stands, so that a refused charge is known to wait in
    the same instant in which it is refused. What is refused as before is neither told nor recorded
    again. `settled_by` names the workflow if it is another than the call's own.
    """
    known = await lock(connection, [call.call_id for call in calls])
    if known.now is None:
        return []
    calls = [known.with_known(call) for call in calls]
    unknown = {call.call_id: why_unknown(call, known.now, known.rules) for call in calls}
    payers = await owners.lock_payers(connection, calls)
    decided = _decided(known.records)
    wallets_of = {call.call_id: payers.wallet(call.call_id) for call in calls}
    open_calls = [call for call in calls if call.call_id not in decided]
    rated = decided | await _rated(connection, open_calls, wallets_of, known.now, known.rules)
    transfers = _transfers(payers, rated, calls)
    refused_before = {one for one in transfers if known.was_refused(one, transfers[one])}
    postings = await _post(connection, payers, transfers, refused_before)
    bills = [
        bill(one, wallets_of[one], rated[one], postings.get(one), unknown[one])
        for one in (call.call_id for call in calls)
    ]
    billed = [
        (call, one)
        for call, one in zip(calls, bills, strict=True)
        if one.state is not CallState.DEBT_LIMIT
        or one.call_id not in refused_before
        or known.records[one.call_id].call != call
    ]
    await _record(connection, known.records, decided, billed, settled_by)
    return bills


async def lock(connection: AsyncConnection, call_ids: Collection[str]) -> LockedCalls:
    """Let one transaction at a time decide about calls, until it ends; wallets come after.

    Return what is known of them. A row's lock does not do that: before anything is known of a call,
    there is no row, and of two that tell of it first one would overwrite the other.
    """
    await connection.execute(LOCK, {"call_ids": list(call_ids)})
    rows = (await connection.execute(KNOWN, {"call_ids": list(call_ids)})).all()
    return LockedCalls(
        records={row.call_id: call_record(row) for row in rows if row.call_id is not None},
        caps={row.of: row.cap_seconds for row in rows if row.cap_seconds is not None},
        now=rows[0].now if rows else None,
        rules=RULES.validate_python(rows[0].free_call_rules or ()) if rows else (),
        refused_minor={row.of: row.waiting_minor for row in rows if row.waiting_minor is not None},
    )


def fact_columns(call: EndedCall) -> dict[str, Any]:
    """Return the columns of a call's row that say what is known of it."""
    cost = call.provider_cost_usd
    return {
        "call_id": call.call_id,
        "facts": FACTS.dump_python(call, mode="json", exclude_defaults=True),
        "ended_at": call.ended_at,
        "ended_reason": call.ended_reason,
        "provider_cost_usd": None if cost is None else str(cost),
    }


async def _rated(
    connection: AsyncConnection,
    calls: Iterable[EndedCall],
    wallets_of: Mapping[str, Wallet | None],
    now: datetime,
    rules: Sequence[FreeRule],
) -> dict[str, Charge | CallState]:
    """Rate calls, by id. Where a tariff is missing, they are all looked up once more."""
    payers = {wallet.org_id for wallet in wallets_of.values() if wallet is not None}

    async def rate_all() -> dict[str, Charge | CallState]:
        rates = await call_tariffs.for_organizations(connection, payers)
        return {
            call.call_id: rate(call, wallets_of[call.call_id], rates, now, rules) for call in calls
        }

    rated = await rate_all()
    if CallState.NO_TARIFF in rated.values():
        await additions.miss(connection, Addition.TARIFF)
        rated = await rate_all()
    return rated


def _decided(known: Mapping[str, CallRecord]) -> dict[str, Charge | CallState]:
    """Return what people have decided: that a call is not charged, or that its charge stands."""
    stands = {
        call_id: one.charge
        for call_id, one in known.items()
        if one.correction_given_up and one.charge is not None
    }
    discarded = {
        call_id: CallState.DISCARDED
        for call_id, one in known.items()
        if one.state is CallState.DISCARDED
    }
    return {**discarded, **stands}


def _transfers(
    payers: Payers, rated: Mapping[str, Charge | CallState], calls: Iterable[EndedCall]
) -> dict[str, Transfer]:
    """Return what is to be charged or corrected, by call id."""
    return {
        call.call_id: transfer
        for call in calls
        if isinstance(charge := rated[call.call_id], Charge)
        and (transfer := payers.transfer(call, charge))
    }


async def _post(
    connection: AsyncConnection,
    payers: Payers,
    transfers: Mapping[str, Transfer],
    refused_before: Iterable[str],
) -> dict[str, Posting]:
    """Post what is to be charged or corrected; return the postings by call id."""
    again = {transfers[call_id].key for call_id in refused_before}
    postings = await ledger.post_locked(connection, payers.locked, [*transfers.values()], again)
    return dict(zip(transfers, postings, strict=True))


async def _record(
    connection: AsyncConnection,
    known: Mapping[str, CallRecord],
    decided: Collection[str],
    billed: Iterable[tuple[EndedCall, CallBill]],
    settled_by: str | None,
) -> None:
    """Record where each call stands by now.

    `known` is what was before, `decided` are the calls about which a person has decided.
    `settled_by` names the workflow if it is another than the call's own.
    """
    outcomes, better = [], []
    for call, one in billed:
        before = known.get(call.call_id)
        if before is None or not _stands(before, call.call_id in decided, call, one):
            outcomes.append(_row(call, one, settled_by))
        elif before.call != call:
            better.append(fact_columns(call))
    for statement, rows in ((RECORD, outcomes), (RECORD_FACTS, better)):
        if rows:
            await connection.execute(statement, {"rows": rows})


def _stands(before: CallRecord, is_decided: bool, call: EndedCall, one: CallBill) -> bool:
    """Return whether a call was done with before, and is neither charged nor corrected now."""
    if before.state.waits:
        return False
    if is_decided or one.charge is None:
        return True
    is_posted = one.posting is not None and one.posting.outcome is not Outcome.DUPLICATE
    return not call.has_final_length and not is_posted


def _row(call: EndedCall, one: CallBill, settled_by: str | None) -> dict[str, Any]:
    refused = one.posting and one.posting.refused_amount
    is_correction = refused is not None and one.charge is not None and refused != one.charge.amount
    charge = None if is_correction else one.charge
    by_another = settled_by if one.state is CallState.SETTLED else None
    return {
        **fact_columns(call),
        "org_id": one.org_id,
        "state": one.state,
        "billed_seconds": charge and charge.billed_seconds,
        "rated_minor": charge and charge.rated.amount_minor,
        "rated_currency": charge and charge.rated.currency,
        "amount_minor": charge and charge.amount.amount_minor,
        "currency": charge and charge.amount.currency,
        "tariff_id": charge and charge.tariff_id,
        "workflow_id": by_another or call_workflow_id(call.call_id),
        "note": one.charge.explain() if one.charge else "",
        "waiting_minor": refused and refused.amount_minor,
    }
