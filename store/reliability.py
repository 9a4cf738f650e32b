"""How well webhooks arrived, day by day, as the runs of reconciliation found it."""

from datetime import date, timedelta

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.reliability import Day, reliability
from billing.webhook import Source


async def last_days(
    connection: AsyncConnection, source: Source, org_id: str | None, days: int
) -> list[Day]:
    """Say it for the last days (UTC), today included; all organisations together, or one."""
    today: date = (await connection.execute(select(func.current_date()))).scalar_one()
    return await by_day(connection, source, org_id, today - timedelta(days=days - 1), today)


async def by_day(
    connection: AsyncConnection, source: Source, org_id: str | None, since: date, until: date
) -> list[Day]:
    """Say for each day (UTC, both included) how many there were and how many were missed.

    A day that no run has looked at is left out. Several runs look at one day: what was checked is
    counted by the one that saw most, what was missed by call or payment. Where runs over parts of a
    day saw fewer than were missed in all of it, there were at least as many as were missed.
    """
    given = {"source": source, "org_id": org_id, "since": since, "until": until}
    return [
        Day(row.day.isoformat(), row.checked, row.missing, reliability(row.checked, row.missing))
        for row in await connection.execute(_BY_DAY, given)
    ]


_BY_DAY = text("""
    WITH looked AS (
        SELECT run_id FROM reconciliation_runs WHERE source = :source AND NOT dry_run
    ), seen AS (
        SELECT org_id, day, max(checked) AS checked
        FROM reconciliation_days JOIN looked USING (run_id)
        WHERE day BETWEEN :since AND :until
          AND (CAST(:org_id AS text) IS NULL OR org_id = :org_id)
        GROUP BY org_id, day
    ), missed AS (
        SELECT (occurred_at AT TIME ZONE 'UTC')::date AS day, count(DISTINCT subject) AS missing
        FROM reconciliation_findings JOIN looked USING (run_id)
        WHERE kind = 'missing'
          AND occurred_at >= :since AND occurred_at < CAST(:until AS date) + interval '1 day'
          AND (CAST(:org_id AS text) IS NULL OR org_id = :org_id)
        GROUP BY 1
    )
    SELECT day,
           greatest(sum(checked)::bigint, coalesce(max(missing), 0)) AS checked,
           coalesce(max(missing), 0) AS missing
    FROM seen LEFT JOIN missed USING (day)
    GROUP BY day
    ORDER BY day
""")
