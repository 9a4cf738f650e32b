"""Webhooks in a flood, each twice, while every part is killed once: nothing is lost or doubled."""

from pathlib import Path

from tests.stories.world import (
    RUNNING,
    UNPROVEN,
    WAITING,
    World,
    reports_twice,
    running_world,
    send_while_killing,
    until,
)

CHARGED = "SELECT key FROM ledger_entries WHERE kind = 'call' ORDER BY key"
BELOW_THE_LIMIT = """
    SELECT count(*) FROM ledger_entries JOIN wallets USING (org_id)
    WHERE balance_after_minor < -debt_limit_minor"""
PARKED = 'BillingState = "parked"'
MINUTE_IN_PENCE = 56


async def test_every_call_is_charged_once_whatever_is_killed(
    tmp_path: Path, story_is_full: bool
) -> None:
    calls = 5000 if story_is_full else 400
    async with running_world(tmp_path / "state") as world:
        tenants = [await world.creates(f"tenant{n}", 10_000_000) for n in range(8)]
        reports = reports_twice(world, tenants, calls)
        shots = await send_while_killing(world, reports)
        assert {shot.status for shot in shots} == {200}
        assert len(shots) == 2 * calls

        await until("unhandled events", 0, lambda: world.scalar(WAITING))
        await until("workflows that run", 0, lambda: world.count(RUNNING))
        await _is_charged_exactly(world, reports.call_ids)
        assert await world.scalar("SELECT sum(balance_minor) FROM wallets") == (
            -MINUTE_IN_PENCE * calls
        )
        assert await world.count(PARKED) == 0


async def test_one_wallet_never_goes_below_its_limit_and_all_is_paid_in_the_end(
    tmp_path: Path, story_is_full: bool
) -> None:
    calls = 5000 if story_is_full else 120
    debt_limit_minor = 10 * MINUTE_IN_PENCE + MINUTE_IN_PENCE // 2
    async with running_world(tmp_path / "state") as world:
        tenant = await world.creates("indebted", debt_limit_minor)
        reports = reports_twice(world, [tenant], calls)
        shots = await send_while_killing(world, reports)
        assert {shot.status for shot in shots} == {200}

        await until("unhandled events", 0, lambda: world.scalar(WAITING))
        await until("parked calls", calls - 10, lambda: world.count(PARKED))
        assert len(await world.column(CHARGED)) == 10

        await world.customer.tops_up(tenant, calls * MINUTE_IN_PENCE)
        await until("charged calls", calls, lambda: _length(world))
        await until("parked calls", 0, lambda: world.count(PARKED))
        await until("workflows that run", 0, lambda: world.count(RUNNING))
        await _is_charged_exactly(world, reports.call_ids)
        assert await world.scalar("SELECT sum(balance_minor) FROM wallets") == 0


async def _is_charged_exactly(world: World, call_ids: object) -> None:
    assert isinstance(call_ids, list)
    assert await world.column(CHARGED) == sorted(f"call:{call_id}" for call_id in call_ids)
    assert await world.scalar(UNPROVEN) == 0
    assert await world.scalar(BELOW_THE_LIMIT) == 0
    assert await world.scalar(WAITING) == 0


async def _length(world: World) -> int:
    return len(await world.column(CHARGED))
