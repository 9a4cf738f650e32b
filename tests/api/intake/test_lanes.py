"""Which lane an event takes: a workflow of its own, or the batches of a flood."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from tests.support.answers import accepted, balance, eventually, settled
from tests.support.api_server import FLOODED, RULES, Api, serving
from tests.support.factories import an_assistant, an_organization, keys_of, unique
from tests.support.signed_webhooks import call_id_of, report, stripe_event


async def test_a_call_in_a_drizzle_has_a_workflow_of_its_own(working_api: Api) -> None:
    api = working_api
    org_id = await an_organization(api.engine, 1000)
    webhook = report(await an_assistant(api.engine, org_id), 210)
    await api.send(webhook)
    call_id = call_id_of(webhook)
    assert (await settled(api, call_id))["workflow_id"] == f"call/{call_id}"
    handle = api.temporal.get_workflow_handle(f"call/{call_id}")
    await handle.result()
    assert (await handle.describe()).status is WorkflowExecutionStatus.COMPLETED
    assert (await api.event(webhook.key)).status == "handled"
    assert await balance(api, org_id) == 1000 - 194


async def test_a_flood_is_settled_in_batches_without_workflows_of_their_own(
    engine: AsyncEngine, worker: Client
) -> None:
    async with serving(engine, worker, rules=FLOODED) as api:
        org_id = await an_organization(engine, 100_000)
        assistant = await an_assistant(engine, org_id)
        flood = [report(assistant, 60) for _ in range(20)]
        answers = await asyncio.gather(*(api.send(one) for one in flood))
        assert [accepted(answer) for answer in answers] == ["accepted"] * 20
        calls = [await settled(api, call_id_of(one)) for one in flood]
        assert {call["workflow_id"] for call in calls} == {"inbox/drain"}
        assert await balance(api, org_id) == 100_000 - 20 * 56
        assert len(await keys_of(engine, org_id)) == 20
        await no_workflow(worker, f"call/{call_id_of(flood[0])}")


async def test_a_call_has_its_own_lane_and_the_flood_behind_it_has_not(
    engine: AsyncEngine, worker: Client
) -> None:
    async with serving(engine, worker, rules=replace(RULES, own_workflow_rate=1)) as api:
        assistant = await an_assistant(engine, await an_organization(engine, 100_000))
        alone, *flood = [report(assistant, 60) for _ in range(10)]
        await api.send(alone)
        assert (await settled(api, call_id_of(alone)))["workflow_id"].startswith("call/")
        await asyncio.gather(*(api.send(one) for one in flood))
        ends = [await settled(api, call_id_of(one)) for one in flood]
        assert {end["workflow_id"] for end in ends} == {"inbox/drain"}


async def test_what_a_batch_cannot_settle_gets_a_workflow_of_its_own_and_is_seen(
    engine: AsyncEngine, worker: Client
) -> None:
    async with serving(engine, worker, rules=FLOODED) as api:
        assistant = await an_assistant(engine, await an_organization(engine, 0))
        dear = report(assistant, 3600)
        await api.send(dear)
        await eventually(lambda: is_in(worker, f"call/{call_id_of(dear)}", "parked"))
        assert (await api.event(dear.key)).status == "handled"


async def test_a_payment_has_its_own_workflow_even_in_a_flood(
    engine: AsyncEngine, worker: Client
) -> None:
    async with serving(engine, worker, rules=FLOODED) as api:
        payment = unique("pi")
        await api.send(stripe_event("payment_intent.succeeded", {"id": payment}))
        await eventually(lambda: is_in(worker, f"payment/{payment}", "parked"))


async def is_in(temporal: Client, workflow_id: str, state: str) -> bool:
    """Whether the workflow exists and shows this state to operators."""
    try:
        description = await temporal.get_workflow_handle(workflow_id).describe()
    except RPCError:
        return False
    return description.search_attributes["BillingState"] == [state]


async def no_workflow(temporal: Client, workflow_id: str) -> None:
    with pytest.raises(RPCError) as missing:
        await temporal.get_workflow_handle(workflow_id).describe()
    assert missing.value.status is RPCStatusCode.NOT_FOUND
