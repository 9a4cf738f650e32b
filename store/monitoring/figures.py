"""All figures for operators: rates, inbox, recharges, reconciliations, audit and alerts."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.inbox.webhook_event import Source
from billing.monitoring import (
    DAY,
    RELIABILITY_DAYS,
    WINDOWS,
    AlertFigures,
    AuditFigures,
    Figures,
    InboxFigures,
    OrganizationRates,
    Rate,
    Rates,
    RatesByWindow,
    ReconciliationFigures,
)
from billing.recharges.attempt import AttemptState
from billing.reconciliation.reliability import reliability
from store.alerts import alerts
from store.ledger import audit as audits
from store.monitoring import rates as monitoring
from store.reconciliation import reliability as days
from store.reconciliation import runs

RECONCILED = (Source.VAPI, Source.STRIPE)
_NOTHING = Rates(Rate(0, 0), Rate(0, 0), Rate(0, 0))


async def figures(connection: AsyncConnection, now: datetime) -> Figures:
    """Read all figures, as of `now`."""
    found = {
        name: await monitoring.rates_of_all(connection, now, window)
        for name, window in WINDOWS.items()
    }
    return Figures(
        as_of=now,
        rates={name: together for name, (together, _) in found.items()},
        organizations=_worst_first({name: apart for name, (_, apart) in found.items()}),
        inbox=await _inbox(connection, now),
        recharges=await _recharges(connection, now),
        reconciliations=tuple(
            [await _reconciliation(connection, source, now) for source in RECONCILED]
        ),
        audit=await _audit(connection),
        alerts=await _alerts(connection, now),
    )


def _worst_first(found: Mapping[str, Mapping[str, Rates]]) -> tuple[OrganizationRates, ...]:
    org_ids = {org_id for rates in found.values() for org_id in rates}
    all_of_them = (OrganizationRates(org_id, _of(org_id, found)) for org_id in org_ids)
    return tuple(sorted(all_of_them, key=lambda one: one.worst_first))


def _of(org_id: str, found: Mapping[str, Mapping[str, Rates]]) -> RatesByWindow:
    return {name: rates.get(org_id, _NOTHING) for name, rates in found.items()}


async def _inbox(connection: AsyncConnection, now: datetime) -> tuple[InboxFigures, ...]:
    rows = {row.source: row for row in await connection.execute(_INBOX, {"now": now})}
    return tuple(
        InboxFigures(source, rows[source].waiting, float(rows[source].oldest_seconds))
        if source in rows
        else InboxFigures(source, 0, 0.0)
        for source in Source
    )


async def _recharges(connection: AsyncConnection, now: datetime) -> Mapping[AttemptState, int]:
    rows = await connection.execute(_RECHARGES, {"since": now - DAY})
    counts = {row.state: row.attempts for row in rows}
    return {state: counts.get(state, 0) for state in AttemptState}


async def _reconciliation(
    connection: AsyncConnection, source: Source, now: datetime
) -> ReconciliationFigures:
    first = (now - timedelta(days=RELIABILITY_DAYS - 1)).date()
    looked_at = await days.by_day(connection, source, None, first, now.date())
    checked, missing = (
        sum(one.checked for one in looked_at),
        sum(one.missing for one in looked_at),
    )
    newest = await runs.page(connection, None, 1, source=source)
    return ReconciliationFigures(
        source=source,
        last_success_at=await connection.scalar(_LAST_SUCCESS, {"source": source}),
        reliability_percent=reliability(checked, missing) if looked_at else None,
        last_run_id=newest[0].run_id if newest else None,
        last_run_status=newest[0].status if newest else None,
    )


async def _audit(connection: AsyncConnection) -> AuditFigures | None:
    for last in await audits.page(connection, None, 1):
        if last.finished_at is not None:
            return AuditFigures(last.finished_at, last.wallets, last.entries, len(last.flaws))
    return None


async def _alerts(connection: AsyncConnection, now: datetime) -> AlertFigures:
    waiting = await alerts.undelivered(connection)
    given_up = await connection.scalar(_GIVEN_UP, {"since": now - DAY})
    return AlertFigures(waiting.count, waiting.oldest_seconds, int(given_up or 0))


_INBOX = text("""
    SELECT source, count(*) AS waiting,
           coalesce(extract(epoch FROM :now - min(due_at) FILTER (WHERE due_at <= :now)), 0)
               AS oldest_seconds
    FROM webhook_events WHERE status = 'waiting' GROUP BY source
""")
_RECHARGES = text("""
    SELECT state, count(*) AS attempts
    FROM recharge_attempts WHERE created_at >= :since GROUP BY state
""")
_GIVEN_UP = text("""
    SELECT count(*) FROM alerts
    WHERE problem IS NOT NULL AND delivered_at IS NULL AND raised_at >= :since
""")
_LAST_SUCCESS = text("""
    SELECT max(finished_at) FROM reconciliation_runs
    WHERE source = :source AND daily AND NOT dry_run AND status = 'succeeded'
""")
