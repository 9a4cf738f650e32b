"""The ledger's tables: post transfers in sets, read entries back."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import case, func, insert, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.ledger.entry import Booked, Entry, EntryKind, Operation, Outcome, Posting, Transfer
from billing.ledger.money import Currency, Money
from billing.ledger.wallet import TransferDecision, Wallet, decide_all
from store.database.pages import newest_first
from store.database.rowset import rowset
from store.ledger import journal, wallets
from store.schema import ledger_entries
from store.schema import wallets as wallets_table

_LARGEST_ID = 2**63 - 1
_PAGE_BELOW, _MOST_BELOW = 50, 1000

# Entries, and then balances, are written by one statement for any number of rows. PostgreSQL gives
# an entry its number and its time.
_new = rowset(
    column for column in ledger_entries.c if column.name not in ("entry_id", "recorded_at")
)
_INSERT = (
    insert(ledger_entries).from_select(_new.c.keys(), select(_new)).returning(*ledger_entries.c)
)

_balances = rowset((wallets_table.c.org_id, wallets_table.c.balance_minor))
_SET_BALANCES = (
    update(wallets_table)
    .values(balance_minor=_balances.c.balance_minor, updated_at=func.now())
    .where(wallets_table.c.org_id == _balances.c.org_id)
)


async def post(connection: AsyncConnection, transfers: Sequence[Transfer]) -> list[Posting]:
    """Post transfers one after another, each key once for ever; return postings in the same order.

    In the caller's transaction: lock the wallets, read which keys exist, let
    `billing.ledger.wallet` decide, and write the entries and the balances in two statements.
    """
    locked = await wallets.lock(connection, {transfer.org_id for transfer in transfers})
    return await post_locked(connection, locked, transfers)


async def post_locked(
    connection: AsyncConnection,
    locked: Mapping[str, Wallet],
    transfers: Sequence[Transfer],
    refused_before: Collection[str] = (),
) -> list[Posting]:
    """Post transfers on wallets that this transaction has locked already.

    All postings are made here, and each is written into the transaction's journal. The locks come
    before the keys are read, so that nobody else can post the same key in between. Of the keys
    `refused_before` it is known that they wait for money: a refusal is no news then.
    """
    existing = await by_keys(connection, [transfer.key for transfer in transfers])
    decisions = decide_all(locked, transfers, existing)
    applied = [one for one in decisions if one.outcome is Outcome.APPLIED]
    if applied:
        existing |= await _insert(connection, applied)
        await _set_balances(connection, applied)
    postings = [_posting(one, existing.get(one.transfer.key)) for one in decisions]
    done = map(Operation, transfers, postings)
    journal.write_down(connection, (one for one in done if _is_news(one, refused_before)))
    return postings


async def by_keys(connection: AsyncConnection, keys: Collection[str]) -> dict[str, Entry]:
    """Read the entries that exist under any of these keys."""
    query = select(ledger_entries).where(ledger_entries.c.key == func.any(list(keys)))
    return {row.key: _entry(row) for row in await connection.execute(query)}


async def find(connection: AsyncConnection, name: str) -> Entry | None:
    """Read the entry of this key, or of this number; None when there is none."""
    table = ledger_entries.c
    is_named = table.key == name
    if name.isascii() and name.isdigit() and int(name) <= _LARGEST_ID:
        is_named = table.entry_id == int(name)
    row = (await connection.execute(select(ledger_entries).where(is_named))).one_or_none()
    return None if row is None else _entry(row)


async def family(connection: AsyncConnection, key: str) -> list[Entry]:
    """Read an entry, and those that reverse or correct it, in the order in which they were made."""
    table = ledger_entries.c
    query = select(ledger_entries).where(or_(table.key == key, table.reverses == key))
    return [_entry(row) for row in await connection.execute(query.order_by(table.entry_id))]


async def booked(connection: AsyncConnection, keys: Collection[str]) -> dict[str, Booked]:
    """Sum up the entries of these keys, each with those that reverse or correct it."""
    table = ledger_entries.c
    # A reversal or correction counts with the entry that it is about.
    root = func.coalesce(table.reverses, table.key).label("root")
    is_debit = table.debit_account == literal("wallet:") + table.org_id
    query = (
        select(
            root,
            table.org_id,
            table.currency,
            func.sum(case((is_debit, table.amount_minor), else_=-table.amount_minor)).label("net"),
            func.count().label("entries"),
        )
        .where(
            or_(table.key == func.any(list(keys)), table.reverses == func.any(list(keys))),
        )
        .group_by(root, table.org_id, table.currency)
    )
    return {
        row.root: Booked(row.org_id, Money(int(row.net), Currency(row.currency)), row.entries)
        for row in await connection.execute(query)
    }


async def page(
    connection: AsyncConnection, org_id: str, before: int | None, limit: int
) -> list[Entry]:
    """List an organisation's entries, newest first, from the one before entry id `before`."""
    query = select(ledger_entries).where(ledger_entries.c.org_id == org_id)
    query = newest_first(query, ledger_entries.c.entry_id, before, limit)
    return [_entry(row) for row in await connection.execute(query)]


async def last_below(connection: AsyncConnection, org_id: str, minor: int) -> list[Entry]:
    """Read a wallet's entries since its balance was last so high, newest first, up to a thousand.

    Some older ones may be among them.
    """
    last, before = list[Entry](), None
    while len(last) < _MOST_BELOW:
        found = await page(connection, org_id, before, _PAGE_BELOW)
        last += found
        is_there = any(one.balance_after.amount_minor >= minor for one in found)
        if is_there or len(found) < _PAGE_BELOW:
            break
        before = found[-1].entry_id
    return last


async def topups(
    connection: AsyncConnection, since: datetime, until: datetime, after: int, limit: int
) -> list[Entry]:
    """List the credits for the payments of a period, of all organisations, after entry `after`."""
    table = ledger_entries.c
    query = (
        select(ledger_entries)
        .where(table.kind == EntryKind.TOPUP, table.occurred_at.between(since, until))
        .where(table.entry_id > after)
        .order_by(table.entry_id)
        .limit(limit)
    )
    return [_entry(row) for row in await connection.execute(query)]


async def _insert(
    connection: AsyncConnection, applied: Iterable[TransferDecision]
) -> dict[str, Entry]:
    made = await connection.execute(_INSERT, {"rows": [_row(decision) for decision in applied]})
    return {row.key: _entry(row) for row in made}


async def _set_balances(connection: AsyncConnection, applied: Iterable[TransferDecision]) -> None:
    """Write the balance of each wallet after its last decision; the decisions are in order."""
    last = {one.transfer.org_id: one.balance_after.amount_minor for one in applied}
    rows = [{"org_id": org_id, "balance_minor": balance} for org_id, balance in last.items()]
    await connection.execute(_SET_BALANCES, {"rows": rows})


def _is_news(done: Operation, refused_before: Collection[str]) -> bool:
    is_refused = done.posting.outcome is Outcome.REFUSED
    return not is_refused or done.transfer.key not in refused_before


def _row(decision: TransferDecision) -> dict[str, Any]:
    transfer = decision.transfer
    return {
        "key": transfer.key,
        "kind": transfer.kind,
        "org_id": transfer.org_id,
        "debit_account": transfer.debit_account,
        "credit_account": transfer.credit_account,
        "amount_minor": transfer.amount.amount_minor,
        "currency": transfer.amount.currency,
        "balance_after_minor": decision.balance_after.amount_minor,
        "occurred_at": transfer.occurred_at,
        "cause": transfer.cause,
        "actor": transfer.actor,
        "reverses": transfer.reverses,
        "note": transfer.note,
    }


def _entry(row: Any) -> Entry:
    currency = Currency(row.currency)
    return Entry(
        entry_id=row.entry_id,
        key=row.key,
        kind=EntryKind(row.kind),
        org_id=row.org_id,
        debit_account=row.debit_account,
        credit_account=row.credit_account,
        amount=Money(row.amount_minor, currency),
        balance_after=Money(row.balance_after_minor, currency),
        occurred_at=row.occurred_at,
        recorded_at=row.recorded_at,
        cause=row.cause,
        actor=row.actor,
        reverses=row.reverses,
        note=row.note,
    )


def _posting(decision: TransferDecision, entry: Entry | None) -> Posting:
    return Posting(
        outcome=decision.outcome,
        entry=entry if decision.outcome is not Outcome.REFUSED else None,
        balance_before=decision.balance_before,
        balance_after=decision.balance_after,
        refusal=decision.refusal,
    )
