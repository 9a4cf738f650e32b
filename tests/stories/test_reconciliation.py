"""Nights in the life of the whole system: lost webhooks, dead processes, days of outage."""

from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from billing.inbox.webhook_event import Source
from billing.reconciliation.reconciliation import LOOK_BACK, Report
from devstack.demo.platform import Tenant
from tests.support import nightly_run, phone_calls
from tests.support.nightly_run import Night
from tests.support.phone_calls import Listed
from tests.support.world import RUNNING, UNPROVEN, World, kill_and_wait, running_world, until

# In the middle, and far from its end.
COMPARING = "SELECT pages BETWEEN 2 AND 30 FROM reconciliation_runs WHERE run_id = :run_id"
RECOVERING = """
    SELECT count(*) BETWEEN 10 AND 100 FROM reconciliation_findings f
    JOIN ledger_entries e ON e.key = 'call:' || f.subject WHERE f.run_id = :run_id"""
OUTAGE = timedelta(hours=72)


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with running_world(tmp_path_factory.mktemp("nights")) as running:
        yield running


async def test_calls_that_were_not_reported_are_billed_and_their_late_reports_change_nothing(
    world: World, story_is_full: bool
) -> None:
    """3 % of the webhooks are dropped. When the night is over, all come, again or at last."""
    calls = 10_000 if story_is_full else 400
    tenants = await _tenants(world, 8)
    listed = await phone_calls.happen(world, tenants, calls)
    lost = listed[::100] + listed[1::100] + listed[2::100]
    await phone_calls.report(world, _without(listed, lost))

    night = (await nightly_run.run(world)).total
    assert (night.checked, night.missing, night.recovered) == (calls, len(lost), len(lost))
    assert night.reliability_percent == Decimal("97.00")
    [recovered] = night.recovered_amounts
    assert recovered.amount_minor == sum((await phone_calls.costs(world, lost)).values())
    await _is_billed_exactly(world, tenants, listed)

    _finds_nothing(await nightly_run.run(world))
    await phone_calls.report(world, listed)
    await _is_billed_exactly(world, tenants, listed)


@pytest.mark.long
@pytest.mark.parametrize("killed", ["postgres", "worker"])
async def test_a_night_ends_whatever_is_killed_and_every_call_is_billed_once(
    world: World, story_is_full: bool, killed: str
) -> None:
    """Nobody helps. The full story kills it while pages are compared, too."""
    calls, missing = (10_000, 1_000) if story_is_full else (300, 150)
    tenants = await _tenants(world, 3)
    listed = await phone_calls.happen(world, tenants, calls)
    await phone_calls.report(world, listed[missing:])

    night = await nightly_run.begin(world)
    for moment in (COMPARING, RECOVERING) if story_is_full else (RECOVERING,):
        await _until_in_the_middle(world, night, moment)
        await kill_and_wait(world.stack, killed)
    total = (await nightly_run.end(night)).total
    assert (total.checked, total.missing, total.recovered) == (calls, missing, missing)
    await _is_billed_exactly(world, tenants, listed)


async def test_three_days_of_outage_are_healed_in_one_night(
    tmp_path: Path, story_is_full: bool
) -> None:
    calls = 3_000 if story_is_full else 72
    async with running_world(tmp_path / "state") as world:
        tenants = await _tenants(world, 3)
        before = (await nightly_run.run(world)).run
        await nightly_run.move_back(world, OUTAGE)
        spread = OUTAGE - phone_calls.BEGAN_BEFORE
        listed = await phone_calls.happen(world, tenants, calls, spread)

    async with running_world(tmp_path / "state") as world:
        healed = await nightly_run.run(world)
        assert healed.run.window.since == before.window.until - OUTAGE - LOOK_BACK[Source.VAPI]
        assert (healed.total.checked, healed.total.missing) == (calls, calls)
        assert healed.total.recovered == calls
        assert healed.total.reliability_percent == 0
        await _is_billed_exactly(world, tenants, listed)
        _finds_nothing(await nightly_run.run(world))


async def _tenants(world: World, count: int) -> list[Tenant]:
    return [await world.creates(f"tenant{number}", 10_000_000) for number in range(count)]


async def _until_in_the_middle(world: World, night: Night, moment: str) -> None:
    await until("the middle", 1, lambda: world.scalar(moment, run_id=night.run_id))


async def _is_billed_exactly(world: World, tenants: list[Tenant], listed: list[Listed]) -> None:
    """Nothing else is in the ledger, every wallet is proved by it, and nothing is under way."""
    await until("workflows that run", 0, lambda: world.count(RUNNING))
    assert await phone_calls.charges(world, tenants) == await phone_calls.costs(world, listed)
    assert await world.scalar(UNPROVEN) == 0


def _without(listed: list[Listed], left_out: list[Listed]) -> list[Listed]:
    ids = {call["id"] for call in left_out}
    return [call for call in listed if call["id"] not in ids]


def _finds_nothing(report: Report) -> None:
    found = report.total
    assert found.checked
    assert (found.missing, found.unbilled, found.drifted, found.waiting) == (0, 0, 0, 0)
