"""What a recharge is told while it does something else is not forgotten over that."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from billing.recharges.attempt import AttemptState
from processes.recharges import require_card
from store.calls import calls
from tests.support.eventually import eventually
from tests.support.factories import an_assistant, ended_call
from tests.support.parked_workflows import attributes, tries, until_parked
from tests.support.recharged_payers import (
    Recharge,
    a_payer,
    card_becomes,
    configure,
    handle_of,
    recharge,
    states_of,
    until_over,
    until_states,
)
from tests.support.stand_ins import StripeStandIn
from tests.workflows.conftest import World

DECLINED, SUCCEEDED = AttemptState.DECLINED, AttemptState.SUCCEEDED
CUSTOMERS = "LOCK TABLE stripe_customers IN ACCESS EXCLUSIVE MODE"
WALLET = "SELECT FROM wallets WHERE org_id = :org_id FOR UPDATE"


@asynccontextmanager
async def held_up(engine: AsyncEngine, statement: str, **values: Any) -> AsyncIterator[None]:
    """Let whoever comes to these rows wait until this is over."""
    async with engine.begin() as connection:
        await connection.execute(text(statement), values)
        yield


async def test_reprocess_is_heard_also_while_the_next_step_is_being_decided(
    world: World, stripe: StripeStandIn
) -> None:
    payer = await a_payer(world.engine, stripe, 400)
    await card_becomes(stripe, payer.card_id, "pm_card_chargeDeclinedLostCard")
    handle = await recharge(world.temporal, payer)
    await until_parked(handle, "recharge_suspended")
    await card_becomes(stripe, payer.card_id, "pm_card_visa")
    decided = await tries(handle, "plan_recharge")
    async with held_up(world.engine, WALLET, org_id=payer.org_id):
        await recharge(world.temporal, payer, "changed")

        async def is_being_decided() -> bool:
            return await tries(handle, "plan_recharge") > decided

        await eventually(is_being_decided)
        await handle.signal("reprocess", "Ann: the bank says it is fine")
    await until_states(world.engine, payer, [DECLINED, SUCCEEDED])
    await until_over(world.temporal, payer)


async def test_a_crossing_is_heard_also_while_a_recharge_that_had_nothing_to_do_closes(
    world: World, stripe: StripeStandIn
) -> None:
    """It closes, and waits for a look at the card whose answer somebody waits for."""
    payer = await a_payer(world.engine, stripe, 600)
    handle = handle_of(world.temporal, payer)
    async with held_up(world.engine, CUSTOMERS):
        asked = asyncio.create_task(require_card(world.temporal, payer.org_id))
        await until_closing(handle, "settled")
        call = ended_call(await an_assistant(world.engine, payer.org_id), 600)
        async with world.engine.begin() as connection:
            await calls.charge(connection, [call])
        await recharge(world.temporal, payer)
    await asked
    await until_states(world.engine, payer, [SUCCEEDED])
    await until_over(world.temporal, payer)
    assert (await attributes(handle))[:2] == ("settled", None)


async def test_what_changes_while_it_waits_to_end_is_acted_on(
    world: World, stripe: StripeStandIn
) -> None:
    payer = await a_payer(world.engine, stripe, 900)
    handle = handle_of(world.temporal, payer)
    async with AsyncExitStack() as wallet:
        async with held_up(world.engine, CUSTOMERS):
            asked = asyncio.create_task(require_card(world.temporal, payer.org_id))
            await until_closing(handle, "settled")
            await configure(world.engine, payer.org_id, threshold_minor=1000)
            await wallet.enter_async_context(held_up(world.engine, WALLET, org_id=payer.org_id))
            await recharge(world.temporal, payer, "changed")
        await asked
        await until_shown(handle, "running")
    await until_states(world.engine, payer, [SUCCEEDED])
    await until_over(world.temporal, payer)


async def test_what_changes_while_it_is_given_up_is_acted_on_and_what_was_before_is_not(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    payer = await a_payer(engine, stripe, 400)
    await card_becomes(stripe, payer.card_id, "pm_card_chargeDeclinedLostCard")
    handle = await recharge(worker, payer)
    for once_more in (False, True):
        await until_parked(handle, "recharge_suspended")
        await recharge(worker, payer)
        looks = await tries(handle, "find_card")
        async with held_up(engine, CUSTOMERS):
            asked = asyncio.create_task(require_card(worker, payer.org_id))
            await until_tried_more(handle, "find_card", looks)
            await handle.signal("discard", "Ann: they pay by invoice")
            await until_shown(handle, "discarded")
            if not once_more:
                await recharge(worker, payer, "changed")
        await asked
    await until_over(worker, payer)
    assert await states_of(engine, payer) == [DECLINED]
    assert (await attributes(handle))[0] == "discarded"


async def has_tried_more(handle: Recharge, activity: str, often: int) -> bool:
    return await tries(handle, activity) > often


async def until_tried_more(handle: Recharge, activity: str, often: int) -> None:
    await eventually(lambda: has_tried_more(handle, activity, often))


async def until_closing(handle: Recharge, state: str) -> None:
    """Wait until it shows its end, and waits for a look at the card that somebody asked for."""

    async def is_closing() -> bool:
        is_looking = await is_known(handle) and await has_tried_more(handle, "find_card", 0)
        return is_looking and (await attributes(handle))[0] == state

    await eventually(is_closing)


async def until_shown(handle: Recharge, state: str) -> None:
    async def is_shown() -> bool:
        return (await attributes(handle))[0] == state

    await eventually(is_shown)


async def is_known(handle: Recharge) -> bool:
    try:
        await handle.describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True
