"""What does not agree in the database: read, never written, a set of organisations at a time."""

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import RowMapping, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.audit import Audit, Check, Flaw
from store.schema import audits

_FLAWS = TypeAdapter(tuple[Flaw, ...])

_SIGNED = """CASE WHEN debit_account = 'wallet:' || org_id
             THEN -amount_minor ELSE amount_minor END"""

# Each names the subject, the organisation and what is wrong. Only constants are spliced in.
_OF_ORGANIZATIONS: Mapping[Check, str] = {
    Check.BALANCE: f"""
        SELECT org_id AS subject, org_id,
               format('the balance is %s, its entries come to %s', balance_minor, proved) AS detail
        FROM wallets LEFT JOIN LATERAL (
            SELECT coalesce(sum({_SIGNED}), 0) AS proved
            FROM ledger_entries WHERE ledger_entries.org_id = wallets.org_id
        ) AS entries ON true
        WHERE org_id = ANY(:org_ids) AND balance_minor <> proved""",  # noqa: S608
    Check.CHAIN: f"""
        SELECT key AS subject, org_id,
               format('the balance after it is %s, and should be %s', balance_after_minor, expected)
                   AS detail
        FROM (
            SELECT key, org_id, balance_after_minor,
                   {_SIGNED} + coalesce(lag(balance_after_minor)
                       OVER (PARTITION BY org_id ORDER BY entry_id), 0) AS expected
            FROM ledger_entries WHERE org_id = ANY(:org_ids)
        ) AS chain
        WHERE balance_after_minor <> expected""",  # noqa: S608
    Check.CALL_WITHOUT_ENTRY: """
        SELECT call_id AS subject, org_id,
               format('settled for %s, and no entry charges it', amount_minor) AS detail
        FROM calls
        WHERE org_id = ANY(:org_ids) AND state = 'settled' AND amount_minor > 0
          AND NOT EXISTS (SELECT FROM ledger_entries WHERE key = 'call:' || call_id)""",
    Check.CALL_OF_OTHER_AMOUNT: f"""
        SELECT call_id AS subject, calls.org_id,
               format('settled for %s, and its entries charge %s', calls.amount_minor, charged)
                   AS detail
        FROM calls JOIN LATERAL (
            SELECT -sum({_SIGNED}) AS charged FROM ledger_entries
            WHERE key = 'call:' || call_id OR reverses = 'call:' || call_id
        ) AS entries ON charged IS NOT NULL
        WHERE calls.org_id = ANY(:org_ids) AND state = 'settled'
          AND calls.amount_minor <> charged""",  # noqa: S608
    Check.ENTRY_WITHOUT_CALL: """
        SELECT key AS subject, org_id, 'no call is known for it' AS detail
        FROM ledger_entries
        WHERE org_id = ANY(:org_ids) AND kind = 'call'
          AND NOT EXISTS (SELECT FROM calls WHERE call_id = substr(key, 6))""",
    Check.MESSAGE_WITHOUT_ENTRY: """
        SELECT sid AS subject, org_id, format('%s, and an entry is missing', state) AS detail
        FROM messages
        WHERE org_id = ANY(:org_ids) AND amount_minor > 0 AND (
          state IN ('charged', 'reversed')
              AND NOT EXISTS (SELECT FROM ledger_entries WHERE key = 'sms:' || sid)
          OR state = 'reversed'
              AND NOT EXISTS (SELECT FROM ledger_entries WHERE reverses = 'sms:' || sid))""",
    Check.ENTRY_WITHOUT_MESSAGE: """
        SELECT key AS subject, org_id, 'no message is known for it' AS detail
        FROM ledger_entries
        WHERE org_id = ANY(:org_ids) AND kind = 'sms'
          AND NOT EXISTS (SELECT FROM messages WHERE sid = substr(key, 5))""",
    Check.ADJUSTMENT_WITHOUT_ENTRY: """
        SELECT adjustment_id AS subject, org_id, 'applied, and no entry says so' AS detail
        FROM adjustments
        WHERE org_id = ANY(:org_ids) AND state = 'applied'
          AND NOT EXISTS (SELECT FROM ledger_entries WHERE key = 'adjustment:' || adjustment_id)""",
    Check.ENTRY_WITHOUT_ADJUSTMENT: """
        SELECT key AS subject, org_id, 'no adjustment was applied for it' AS detail
        FROM ledger_entries
        WHERE org_id = ANY(:org_ids) AND key LIKE 'adjustment:%'
          AND NOT EXISTS (
            SELECT FROM adjustments WHERE adjustment_id = substr(key, 12) AND state = 'applied')""",
}
# A report that is handled has its call, settled or waiting.
_REPORTS = """
    SELECT subject, NULL AS org_id, 'its report was handled, and no call is known' AS detail
    FROM webhook_events
    WHERE source = 'vapi' AND type = 'end-of-call-report' AND status = 'handled'
      AND NOT EXISTS (SELECT FROM calls WHERE call_id = subject)"""


async def of_organizations(connection: AsyncConnection, org_ids: Collection[str]) -> list[Flaw]:
    """Look at the wallets, entries, calls and adjustments of some organisations.

    The caller's transaction is a snapshot: money that moves meanwhile is not a flaw.
    """
    return [
        _flaw(check, row)
        for check, query in _OF_ORGANIZATIONS.items()
        for row in (await connection.execute(text(query), {"org_ids": list(org_ids)})).mappings()
    ]


async def of_reports(connection: AsyncConnection) -> list[Flaw]:
    """Look for reports that were handled and came to nothing."""
    rows = (await connection.execute(text(_REPORTS))).mappings()
    return [_flaw(Check.REPORT_WITHOUT_CALL, row) for row in rows]


async def count_entries(connection: AsyncConnection, org_ids: Collection[str]) -> int:
    """Count the entries of some organisations."""
    query = "SELECT count(*) FROM ledger_entries WHERE org_id = ANY(:org_ids)"
    return int(await connection.scalar(text(query), {"org_ids": list(org_ids)}) or 0)


async def record(connection: AsyncConnection, audit: Audit) -> None:
    """Keep what an audit found."""
    row = {
        "started_at": audit.started_at,
        "wallets": audit.wallets,
        "entries": audit.entries,
        "flaws": _FLAWS.dump_python(audit.flaws, mode="json"),
    }
    await connection.execute(insert(audits).values(row))


async def page(connection: AsyncConnection, before: int | None, limit: int) -> list[Audit]:
    """List audits, newest first, from the one before position `before`."""
    query = select(audits).order_by(audits.c.position.desc()).limit(limit)
    if before is not None:
        query = query.where(audits.c.position < before)
    return [_audit(row) for row in await connection.execute(query)]


def _flaw(check: Check, row: RowMapping) -> Flaw:
    return Flaw(check, row["subject"], row["detail"], row["org_id"])


def _audit(row: Any) -> Audit:
    return Audit(
        started_at=row.started_at,
        wallets=row.wallets,
        entries=row.entries,
        flaws=_FLAWS.validate_python(row.flaws),
        finished_at=row.finished_at,
        position=row.position,
    )
