"""What does not agree in the database: read, never written, a set of organisations at a time."""

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import RowMapping, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.audit import Audit, Check, Flaw
from store import audit_ledger, audit_payments, audit_usage
from store.schema import audits

_FLAWS = TypeAdapter(tuple[Flaw, ...])

_OF_ORGANIZATIONS: Mapping[Check, str] = {
    **audit_ledger.OF_ORGANIZATIONS,
    **audit_usage.OF_ORGANIZATIONS,
    **audit_payments.OF_ORGANIZATIONS,
}
_OF_WEBHOOKS: Mapping[Check, str] = {**audit_usage.OF_WEBHOOKS, **audit_payments.OF_WEBHOOKS}


async def of_organizations(connection: AsyncConnection, org_ids: Collection[str]) -> list[Flaw]:
    """Look at the wallets and entries of some organisations, and at all that there are entries for.

    The caller's transaction is a snapshot: money that moves meanwhile is not a flaw.
    """
    return await _flaws(connection, _OF_ORGANIZATIONS, org_ids=list(org_ids))


async def of_webhooks(connection: AsyncConnection) -> list[Flaw]:
    """Look for webhooks that were handled and came to nothing."""
    return await _flaws(connection, _OF_WEBHOOKS)


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


async def _flaws(
    connection: AsyncConnection, queries: Mapping[Check, str], **given: list[str]
) -> list[Flaw]:
    return [
        _flaw(check, row)
        for check, query in queries.items()
        for row in (await connection.execute(text(query), given)).mappings()
    ]


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
