"""Runs of reconciliation in PostgreSQL: begun once, each page once, summed up by organisation."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.errors import NotFound
from billing.inbox.webhook_event import Source
from billing.ledger.money import Currency, Money
from billing.reconciliation.reconciliation import (
    FindingKind,
    FindingOutcome,
    Report,
    Run,
    RunStatus,
    Tally,
    Window,
)
from store.reconciliation import runs
from tests.support.factories import NOON, an_organization, unique
from tests.support.reconciliation_runs import DAY, MIDNIGHT, Checked, a_finding, a_run, on, record


async def open_run(engine: AsyncEngine, run: Run) -> Run:
    async with engine.begin() as connection:
        return await runs.open_run(connection, run)


async def turn_page(
    engine: AsyncEngine, run: Run, page: int, reached: datetime | None, **checked: int
) -> bool:
    counts: Checked = {(org_id, NOON.date()): count for org_id, count in checked.items()}
    async with engine.begin() as connection:
        return await runs.turn_page(connection, run.run_id, page, reached, counts)


async def read(engine: AsyncEngine, run: Run) -> Run:
    async with engine.connect() as connection:
        return await runs.read(connection, run.run_id)


async def tallies(engine: AsyncEngine, run: Run) -> list[Tally]:
    async with engine.connect() as connection:
        return await runs.tallies(connection, run.run_id)


async def report(engine: AsyncEngine, run_id: str) -> Report:
    async with engine.connect() as connection:
        return await runs.report(connection, run_id)


async def set_status(
    engine: AsyncEngine, run: Run, status: RunStatus, ended: datetime | None = None
) -> Run:
    async with engine.begin() as connection:
        return await runs.set_status(
            connection, run.run_id, status, problem=f"it is {status}", finished_at=ended
        )


# ---- one run


async def test_a_run_is_begun_once_however_often_its_activity_is_tried(engine: AsyncEngine) -> None:
    first = await open_run(engine, run := a_run())
    assert first == replace(run, position=first.position)
    assert first.position > 0
    again = replace(run, started_at=NOON + 5 * DAY, source=Source.STRIPE)
    assert await open_run(engine, again) == first


async def test_a_parked_run_that_is_tried_again_goes_on(engine: AsyncEngine) -> None:
    await open_run(engine, run := a_run())
    await set_status(engine, run, RunStatus.PARKED)
    goes_on = await open_run(engine, run)
    assert (goes_on.status, goes_on.problem) == (RunStatus.RUNNING, "")
    ended = await set_status(engine, run, RunStatus.SUCCEEDED, NOON + DAY)
    assert await open_run(engine, run) == ended


async def test_a_run_that_never_was_is_not_found(engine: AsyncEngine) -> None:
    with pytest.raises(NotFound):
        await read(engine, a_run())
    with pytest.raises(NotFound):
        await report(engine, unique("run"))


async def test_a_page_counts_once(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    await open_run(engine, run := a_run())
    assert await turn_page(engine, run, 1, NOON, **{org_id: 600})
    assert not await turn_page(engine, run, 1, NOON, **{org_id: 600})
    assert not await turn_page(engine, run, 3, NOON - DAY, **{org_id: 600})
    assert await turn_page(engine, run, 2, MIDNIGHT, **{org_id: 400})
    turned = await read(engine, run)
    assert (turned.pages, turned.reached) == (2, MIDNIGHT)
    assert [one.checked for one in await tallies(engine, run)] == [1000]


async def test_a_page_with_nothing_on_it_reaches_nowhere(engine: AsyncEngine) -> None:
    await open_run(engine, run := a_run())
    assert await turn_page(engine, run, 1, NOON)
    assert await turn_page(engine, run, 2, None)
    assert (await read(engine, run)).reached == NOON
    assert await tallies(engine, run) == []


async def test_how_far_a_run_has_come_never_goes_back(engine: AsyncEngine) -> None:
    """Vapi's list goes from new to old, but not to the microsecond."""
    await open_run(engine, run := a_run())
    await turn_page(engine, run, 1, MIDNIGHT)
    await turn_page(engine, run, 2, NOON)
    assert (await read(engine, run)).reached == MIDNIGHT


async def test_a_run_that_has_ended_stays_as_it_ended(engine: AsyncEngine) -> None:
    await open_run(engine, run := a_run())
    parked = await set_status(engine, run, RunStatus.PARKED)
    assert (parked.status, parked.problem, parked.finished_at) == ("parked", "it is parked", None)
    ended = await set_status(engine, run, RunStatus.SUCCEEDED, NOON + 2 * DAY)
    assert (ended.status, ended.finished_at) == ("succeeded", NOON + 2 * DAY)
    assert await set_status(engine, run, RunStatus.DISCARDED, NOON + 3 * DAY) == ended


# ---- what it found


async def test_a_run_is_summed_up_by_organisation_and_nobody_s_come_last(
    engine: AsyncEngine,
) -> None:
    acme, bolt = await an_organization(engine), await an_organization(engine)
    found = [
        replace(a_finding(acme, 500), outcome=FindingOutcome.RECOVERED),
        replace(a_finding(acme, 70), outcome=FindingOutcome.WAITING),
        replace(a_finding(acme, 30, kind=FindingKind.UNBILLED), outcome=FindingOutcome.RECOVERED),
        replace(a_finding(acme, -5, kind=FindingKind.DRIFTED), outcome=FindingOutcome.RECOVERED),
        replace(a_finding(acme, kind=FindingKind.ORPHANED), outcome=FindingOutcome.REPORTED),
        replace(a_finding(None), outcome=FindingOutcome.QUARANTINED),
        a_finding(None),
    ]
    run = await record(engine, a_run(), on(NOON, {acme: 200, bolt: 10, None: 2}), *found)
    by_org = {one.org_id: one for one in await tallies(engine, run)}
    assert list(by_org) == [*sorted([acme, bolt]), None]
    assert by_org[bolt] == Tally(bolt, 10)
    assert by_org[acme] == Tally(
        acme,
        checked=200,
        missing=2,
        unbilled=1,
        drifted=1,
        orphaned=1,
        recovered=3,
        waiting=1,
        missing_amounts=(Money(570, Currency.GBP),),
        recovered_amounts=(Money(525, Currency.GBP),),
        reliability_percent=Decimal(99),
    )
    assert by_org[None] == Tally(
        None, 2, missing=2, quarantined=1, waiting=1, reliability_percent=Decimal(0)
    )


async def test_money_of_two_currencies_is_never_added(engine: AsyncEngine) -> None:
    """Payments that belong to nobody come in any currency."""
    found = [
        a_finding(None, 100, currency=Currency.USD),
        a_finding(None, 7, currency=Currency.GBP),
        a_finding(None, 1, currency=Currency.USD),
    ]
    run = await record(engine, a_run(source=Source.STRIPE), on(NOON, {None: 3}), *found)
    [tally] = await tallies(engine, run)
    assert tally.missing_amounts == (Money(7, Currency.GBP), Money(101, Currency.USD))
    assert tally.recovered_amounts == ()


async def test_a_report_says_how_long_it_took_and_how_far_it_is(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    done = await record(engine, a_run(), on(NOON, {org_id: 4}), a_finding(org_id, 50))
    written = await report(engine, done.run_id)
    assert written.run == done
    assert [written.duration_seconds, written.progress] == [60, 1]
    assert (written.total.checked, written.total.missing) == (4, 1)
    assert written.impact.money_a_month == (Money(1500, Currency.GBP),)
    await open_run(engine, under_way := a_run())
    await turn_page(engine, under_way, 1, NOON)
    assert (await report(engine, under_way.run_id)).progress == Decimal("0.5")


# ---- lists of runs


async def test_runs_are_listed_newest_first_in_pages_and_narrowed(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    mine = [await record(engine, a_run(org_id=org_id)) for _ in range(3)]
    payments = await record(engine, a_run(org_id=org_id, source=Source.STRIPE))
    await record(engine, a_run())
    async with engine.connect() as connection:

        async def page(before: int | None, **only: str) -> list[Run]:
            return await runs.page(
                connection,
                before,
                2,
                org_id=org_id,
                source=only.get("source"),  # type: ignore[arg-type]  # a Source is a str
            )

        first = await page(None)
        assert first == [payments, mine[2]]
        assert await page(first[-1].position) == [mine[1], mine[0]]
        assert await page(mine[0].position) == []
        assert await page(None, source=Source.STRIPE) == [payments]
        newest = await runs.page(connection, None, 1)
        assert newest[0].org_id is None


# ---- where the next one begins


async def covered(engine: AsyncEngine) -> tuple[datetime | None, datetime | None]:
    async with engine.connect() as connection:
        return (
            await runs.covered_until(connection, Source.VAPI),
            await runs.last_success(connection, Source.VAPI),
        )


async def test_only_a_whole_daily_run_that_succeeded_counts_as_having_looked(
    engine_apart: AsyncEngine,
) -> None:
    engine = engine_apart
    assert await covered(engine) == (None, None)
    org_id = await an_organization(engine)
    until, since_then = await covered(engine)
    assert until is None
    assert since_then is not None
    for other in (
        a_run(org_id=org_id),
        a_run(dry_run=True),
        replace(a_run(), daily=False),
        a_run(source=Source.STRIPE),
    ):
        await record(engine, other)
    await record(engine, a_run(), status=RunStatus.PARKED)
    assert await covered(engine) == (None, since_then)
    await record(engine, a_run())
    assert await covered(engine) == (MIDNIGHT + DAY, NOON + DAY + timedelta(minutes=1))


async def test_a_late_success_over_an_older_window_takes_nothing_back(
    engine_apart: AsyncEngine,
) -> None:
    await record(engine_apart, a_run())
    older = Window(MIDNIGHT - DAY, MIDNIGHT)
    await record(engine_apart, a_run(window=older))
    assert (await covered(engine_apart))[0] == MIDNIGHT + DAY
