"""Whatever Stripe does, and wherever a recharge is cut off: one payment, one credit."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
import stripe as stripe_sdk
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.testing import TimeSkipper

from billing.recharges.attempt import AttemptState
from processes.namespace import prepare
from settings import WorkerSettings, platform_rules
from tests.conftest import NewDatabase
from tests.support.cut_activities import Cut, Cutter
from tests.support.eventually import LONGEST_SECONDS
from tests.support.factories import balance_of, keys_of
from tests.support.recharged_payers import (
    Payer,
    a_payer,
    charges_fail,
    payments,
    recharge,
    states_of,
    stripe_fails,
)
from tests.support.stand_ins import StripeStandIn
from tests.workflows.conftest import SkippingWorld
from wiring import Clients, connect_temporal, stripe_client
from worker import build_workers

IMPATIENT_SECONDS = 1.5
# Every step of a recharge and of the settlement after it, and which time it is done.
STEPS = (
    ("plan_recharge", 1),
    ("find_card", 1),
    ("plan_recharge", 2),
    ("charge_card", 1),
    ("record_recharge", 1),
    ("plan_recharge", 3),
    ("settle_payment", 1),
)


@pytest.fixture(scope="module")
def cutter() -> Cutter:
    return Cutter()


@pytest.fixture(scope="module")
async def world(
    skipping_server: str,
    settings: WorkerSettings,
    clients: Clients,
    migrated_database: NewDatabase,
    cutter: Cutter,
) -> AsyncIterator[SkippingWorld]:
    """A worker that waits for Stripe for a second, can be cut off, and skips all that it waits."""
    engine = await migrated_database()
    there = {"temporal_address": skipping_server, "temporal_namespace": "recharges-cut-off"}
    plain = await connect_temporal(settings.model_copy(update=there))
    await prepare(plain)
    cutter.client = plain
    config = plain.config()
    config["interceptors"] = [cutter]
    skipper = TimeSkipper(Client(**config))
    http = stripe_sdk.HTTPXClient(timeout=IMPATIENT_SECONDS)
    impatient = replace(clients, engine=engine, stripe=stripe_client(settings, http))
    async with AsyncExitStack() as running:
        for one in build_workers(skipper.client, impatient, platform_rules(settings)):
            await running.enter_async_context(one)
        yield SkippingWorld(skipper.client, engine)
    await http.close_async()  # type: ignore[no-untyped-call]
    http.close()  # type: ignore[no-untyped-call]


async def credited(world: SkippingWorld, payers: Sequence[Payer]) -> None:
    """Wait until all are recharged; again and again a call finds them short, as in life."""
    left = list(payers)
    async with asyncio.timeout(LONGEST_SECONDS):
        while left:
            balances = [await balance_of(world.engine, payer.org_id) for payer in left]
            left = [one for one, minor in zip(left, balances, strict=True) if minor < 500]
            await asyncio.gather(*(recharge(world.temporal, payer) for payer in left))
            await asyncio.sleep(0.5)


async def is_paid_once(
    engine: AsyncEngine, stripe: StripeStandIn, payer: Payer, balance_minor: int = 5400
) -> bool:
    """Whether there is one PaymentIntent, one credit of it, and the balance that follows."""
    paid = await payments(stripe, payer)
    credited_by = [key for key in await keys_of(engine, payer.org_id) if key.endswith(":credit")]
    balance = await balance_of(engine, payer.org_id)
    return (len(paid), len(credited_by), balance) == (1, 1, balance_minor)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "timeout_after"},
        {"kind": "hang"},
        {"kind": "status_after", "status": 500},
        {"kind": "status_after", "status": 500, "stored": True},
        {"kind": "status", "status": 503, "times": 2},
        {"kind": "reset"},
        {"kind": "reset_after"},
        {"kind": "status", "status": 429, "retry_after": 1},
        {"kind": "status", "status": 409},
        {"kind": "delay", "seconds": 2 * IMPATIENT_SECONDS},
    ],
    ids=lambda fault: "-".join(str(value) for value in fault.values()),
)
async def test_a_stripe_that_misbehaves_is_paid_once(
    world: SkippingWorld, stripe: StripeStandIn, fault: dict[str, Any]
) -> None:
    payer = await a_payer(world.engine, stripe, 400)
    await charges_fail(stripe, **fault)
    await recharge(world.temporal, payer)
    await credited(world, [payer])
    assert await is_paid_once(world.engine, stripe, payer)
    assert await states_of(world.engine, payer) == [AttemptState.SUCCEEDED]


async def test_an_outage_of_hours_delays_a_recharge_and_does_not_double_it(
    world: SkippingWorld, stripe: StripeStandIn
) -> None:
    payer = await a_payer(world.engine, stripe, 400)
    await charges_fail(stripe, kind="status", status=500, times=6)
    await recharge(world.temporal, payer)
    await credited(world, [payer])
    assert await is_paid_once(world.engine, stripe, payer)
    assert await states_of(world.engine, payer) == [AttemptState.SUCCEEDED]


async def test_a_list_that_fails_too_leaves_the_charge_unknown_and_not_repeated(
    world: SkippingWorld, stripe: StripeStandIn
) -> None:
    payer = await a_payer(world.engine, stripe, 400)
    await charges_fail(stripe, kind="timeout_after")
    await stripe_fails(stripe, "GET", "/v1/payment_intents", kind="status", status=500, times=4)
    await recharge(world.temporal, payer)
    await credited(world, [payer])
    assert await is_paid_once(world.engine, stripe, payer)


async def test_a_recharge_that_is_cut_off_anywhere_ends_the_same(
    world: SkippingWorld,
    stripe: StripeStandIn,
    cutter: Cutter,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cuts = [(step, time, how) for step, time in STEPS for how in Cut]
    payers = [await a_payer(world.engine, stripe, 400) for _ in cuts]
    for payer, (step, time, how) in zip(payers, cuts, strict=True):
        cutter.cut(payer.org_id, step, time, how)
    await asyncio.gather(*(recharge(world.temporal, payer) for payer in payers))
    await credited(world, payers)
    ends = [await is_paid_once(world.engine, stripe, payer) for payer in payers]
    with capsys.disabled():
        sys.stdout.write(f"\n{'step':<20}{'cut off':<36}one payment, one credit\n")
        for (step, time, how), end in zip(cuts, ends, strict=True):
            sys.stdout.write(f"{f'{step} ({time})':<20}{how:<36}{'yes' if end else 'NO'}\n")
    assert cutter.done >= {payer.org_id for payer in payers}
    assert all(ends)
