"""Find what does not agree in the database, a set of organisations at a time; repair nothing."""

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import RowMapping, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.ledger.audit import Audit, Check, Flaw
from store.database.pages import newest_first
from store.ledger import audit_ledger, audit_payments, audit_usage
from store.schema import audits

_FLAWS = TypeAdapter(tuple[Flaw, ...])

OF_ORGANIZATIONS: Mapping[Check, str] = {
    **audit_ledger.OF_ORGANIZATIONS,
    **audit_usage.OF_ORGANIZATIONS,
    **audit_payments.OF_ORGANIZATIONS,
}
OF_WEBHOOKS: Mapping[Check, str] = {**audit_usage.OF_WEBHOOKS, **audit_payments.OF_WEBHOOKS}


async def of_organizations(connection: AsyncConnection, org_ids: Collection[str]) -> list[Flaw]:
    """Return the flaws of some organisations: of their wallets, entries, and what has entries.

    The caller's transaction must be a snapshot, or money that moves meanwhile looks like a flaw.
    """
    return [
        flaw for check in OF_ORGANIZATIONS for flaw in await of_check(connection, check, org_ids)
    ]


async def of_check(
    connection: AsyncConnection, check: Check, org_ids: Collection[str]
) -> list[Flaw]:
    """Return the flaws of some organisations that one check finds."""
    return await _flaws(connection, check, OF_ORGANIZATIONS[check], org_ids=list(org_ids))


async def of_webhooks(
    connection: AsyncConnection,
    checks: Collection[Check] = OF_WEBHOOKS.keys(),
    *,
    untyped_are_ours: bool,
) -> list[Flaw]:
    """Return the flaws of webhooks: those that were handled and came to nothing."""
    return [
        flaw
        for check in checks
        for flaw in await _flaws(
            connection, check, OF_WEBHOOKS[check], untyped_are_ours=untyped_are_ours
        )
    ]


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
    query = newest_first(select(audits), audits.c.position, before, limit)
    return [_audit(row) for row in await connection.execute(query)]


async def _flaws(
    connection: AsyncConnection, check: Check, query: str, **given: list[str] | bool
) -> list[Flaw]:
    found = await connection.execute(text(query), given)
    return [_flaw(check, row) for row in found.mappings()]


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
