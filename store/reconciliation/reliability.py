"""How well webhooks arrived, day by day, as the runs of reconciliation found it."""

from datetime import date, timedelta

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.inbox.webhook_event import Source
from billing.reconciliation.reliability import Day, reliability


async def last_days(
    connection: AsyncConnection, source: Source, org_id: str | None, days: int
) -> list[Day]:
    """Read `by_day` for the last days (UTC), today included."""
    today: date = (await connection.execute(select(func.current_date()))).scalar_one()
    return await by_day(connection, source, org_id, today - timedelta(days=days - 1), today)


async def by_day(
    connection: AsyncConnection, source: Source, org_id: str | None, since: date, until: date
) -> list[Day]:
    """Read how many calls or payments there were on each day, and how many of them were missed.

    Days are in UTC, and both are included. A day that no run has looked at is left out. Without an
    organisation the numbers are of all together.
    """
    given = {"source": source, "org_id": org_id, "since": since, "until": until}
    return [
        Day(row.day.isoformat(), row.checked, row.missing, reliability(row.checked, row.missing))
        for row in await connection.execute(_BY_DAY, given)
    ]


# Several runs look at the same day. Of what they checked, the run that saw most counts (`seen`).
# What was missed is counted by its subject (`missed`), so that each call or payment counts once.
# Runs over parts of a day can have seen fewer than were missed in all of it, so `greatest` makes
# the day's number at least that of the missed.
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
