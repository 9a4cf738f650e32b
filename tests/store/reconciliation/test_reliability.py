"""Reliability by day: overlapping runs count a day once, and what was missed stays missed."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncEngine

from billing.inbox.webhook_event import Source
from billing.reconciliation.reconciliation import FindingKind, FindingOutcome
from billing.reconciliation.reliability import Day
from store.reconciliation import reliability
from tests.support.factories import NOON, an_organization
from tests.support.reconciliation_runs import DAY, Checked, a_finding, a_run, on, record

Counted = tuple[str, int, int, Decimal]


async def by_day(
    engine: AsyncEngine,
    org_id: str | None = None,
    *,
    source: Source = Source.VAPI,
    since: datetime = NOON - 5 * DAY,
    until: datetime = NOON,
) -> list[Day]:
    async with engine.connect() as connection:
        return await reliability.by_day(connection, source, org_id, since.date(), until.date())


def day(of: datetime, checked: int, missing: int, percent: str) -> Day:
    return Day(of.date().isoformat(), checked, missing, Decimal(percent))


async def test_a_day_that_two_runs_looked_at_is_counted_once(engine: AsyncEngine) -> None:
    """The first recovered what was missed, so the second finds nothing; it was missed for all."""
    org_id = await an_organization(engine)
    missed = [a_finding(org_id, 5) for _ in range(3)]
    recovered = [replace(one, outcome=FindingOutcome.RECOVERED) for one in missed]
    await record(engine, a_run(), on(NOON, {org_id: 80}), *recovered)
    await record(engine, a_run(), on(NOON, {org_id: 100}))
    await record(engine, a_run(), on(NOON, {org_id: 90}), missed[0], a_finding(org_id))
    assert await by_day(engine, org_id) == [day(NOON, 100, 4, "96.00")]


async def test_days_are_days_in_utc_and_come_in_order(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    last_second = NOON.replace(hour=23, minute=59, second=59)
    found = [
        a_finding(org_id, occurred_at=last_second),
        a_finding(org_id, occurred_at=last_second - DAY),
        a_finding(org_id, occurred_at=NOON.replace(hour=0) - 2 * DAY),
        a_finding(org_id, occurred_at=NOON.replace(hour=0) + DAY),
    ]
    looked: Checked = {(org_id, (NOON - number * DAY).date()): 10 for number in range(-1, 7)}
    await record(engine, a_run(), looked, *found)
    assert await by_day(engine, org_id, since=NOON - 2 * DAY) == [
        day(NOON - 2 * DAY, 10, 1, "90"),
        day(NOON - DAY, 10, 1, "90"),
        day(NOON, 10, 1, "90"),
    ]


async def test_a_day_that_no_run_looked_at_is_left_out(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    await record(engine, a_run(), on(NOON - 2 * DAY, {org_id: 5}) | on(NOON, {org_id: 5}))
    assert [one.day for one in await by_day(engine, org_id)] == [
        (NOON - 2 * DAY).date().isoformat(),
        NOON.date().isoformat(),
    ]


async def test_dry_runs_and_other_findings_than_missing_ones_change_nothing(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine)
    await record(engine, a_run(dry_run=True), on(NOON, {org_id: 500}), a_finding(org_id))
    assert await by_day(engine, org_id) == []
    others = [a_finding(org_id, kind=kind) for kind in FindingKind if kind != FindingKind.MISSING]
    await record(engine, a_run(), on(NOON, {org_id: 10}), *others)
    assert await by_day(engine, org_id) == [day(NOON, 10, 0, "100")]


async def test_calls_and_payments_of_all_organisations_are_kept_apart(
    engine_apart: AsyncEngine,
) -> None:
    engine = engine_apart
    acme, bolt = await an_organization(engine), await an_organization(engine)
    looked = on(NOON, {acme: 10, bolt: 20, None: 2})
    await record(engine, a_run(), looked, a_finding(acme), a_finding(None))
    await record(engine, a_run(org_id=acme), on(NOON, {acme: 12}))
    payments = a_run(source=Source.STRIPE)
    await record(engine, payments, on(NOON, {acme: 4}), a_finding(acme))
    assert await by_day(engine, acme) == [day(NOON, 12, 1, "91.66")]
    assert await by_day(engine, bolt) == [day(NOON, 20, 0, "100")]
    assert await by_day(engine) == [day(NOON, 34, 2, "94.11")]
    assert await by_day(engine, source=Source.STRIPE) == [day(NOON, 4, 1, "75")]


async def test_runs_over_parts_of_a_day_never_make_it_worse_than_nothing(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine)
    for _ in range(2):
        missed = [a_finding(org_id) for _ in range(4)]
        await record(engine, a_run(org_id=org_id), on(NOON, {org_id: 4}), *missed)
    assert await by_day(engine, org_id) == [day(NOON, 8, 8, "0")]


async def test_the_last_days_end_today(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    today = await current_date(engine)
    looked: Checked = {(org_id, today - timedelta(days=number)): number + 1 for number in range(9)}
    await record(engine, a_run(), looked)
    async with engine.connect() as connection:
        found = await reliability.last_days(connection, Source.VAPI, org_id, 7)
    assert [one.checked for one in found] == [7, 6, 5, 4, 3, 2, 1]
    assert found[-1].day == today.isoformat()


async def current_date(engine: AsyncEngine) -> date:
    async with engine.connect() as connection:
        found: date = (await connection.exec_driver_sql("SELECT current_date")).scalar_one()
    return found
