"""Vapi is asked whose a call is, once; and what it says later reaches the process that waits."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from billing.calls.call import CallState, EndedCall
from billing.organizations import AgentKind
from billing.reconciliation.reconciliation import FindingOutcome
from store.calls import owners
from tests.support.factories import (
    an_assistant,
    an_organization,
    balance_of,
    ended_call,
    now,
    register,
    unique,
)
from tests.support.parked_workflows import (
    collect_all,
    ended,
    page,
    reprocess,
    start_bill,
    tries,
    until_parked,
)
from tests.support.reconciled_days import Reconciler, a_day, calls_on
from tests.support.stand_ins import VapiStandIn


def shown(call: EndedCall, **more: Any) -> dict[str, Any]:
    """Return a call as Vapi's API shows it, without what it was started with, but for `more`."""
    assert call.started_at is not None
    assert call.ended_at is not None
    return {
        "id": call.call_id,
        "createdAt": call.started_at.isoformat(),
        "startedAt": call.started_at.isoformat(),
        "endedAt": call.ended_at.isoformat(),
        **more,
    }


async def test_a_report_that_names_no_assistant_is_asked_of_vapi(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id, call = await an_organization(engine), ended_call()
    await vapi.shows(**shown(call, assistantId=await an_assistant(engine, org_id)))
    handle = await start_bill(worker, call)
    bill = await ended(handle)
    assert (bill.state, bill.org_id) == (CallState.SETTLED, org_id)
    assert await balance_of(engine, org_id) == -56
    assert await tries(handle, "fetch_call") == 1


async def test_what_vapi_names_besides_is_believed_too(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id = await an_organization(engine, 1000)
    assistant = await an_assistant(engine, org_id)
    squad = await register(engine, unique("squad"), org_id, AgentKind.SQUAD)
    for named in (
        {"assistantActivations": [{}, {"assistantId": assistant}]},
        {"squad": {"members": [{"assistantId": assistant}]}},
        {"squadId": squad},
    ):
        call = ended_call()
        await vapi.shows(**shown(call, **named))
        assert (await ended(await start_bill(worker, call))).org_id == org_id
    assert await balance_of(engine, org_id) == 1000 - 3 * 56


async def test_vapi_is_asked_once_and_a_person_can_say_whose_it_is(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    call = ended_call()
    await vapi.shows(**shown(call, assistant={"name": "Made for this call"}))
    handle = await start_bill(worker, call)
    await until_parked(handle, "unknown_assistant")
    for _ in range(2):
        assert (await reprocess(handle, "Ann: just looking")).state == "parked"
    assert await tries(handle, "fetch_call") == 1
    org_id = await an_organization(engine)
    async with engine.begin() as connection:
        await owners.register(connection, call.call_id, org_id)
    await collect_all(worker, org_id)
    assert (await ended(handle)).org_id == org_id


async def discard_it(handle: Any) -> None:
    await handle.signal("discard", "Ann: a test")
    await ended(handle)


async def test_a_call_that_vapi_does_not_know_waits_for_a_person_to_say_whose_it_is(
    worker: Client, vapi: VapiStandIn
) -> None:
    handle = await start_bill(worker, ended_call())
    await until_parked(handle, "unknown_assistant")
    assert (await reprocess(handle, "Ann: just looking")).state == "parked"
    assert await tries(handle, "fetch_call") == 1
    await discard_it(handle)


async def test_an_assistant_that_is_named_and_nobody_s_is_not_asked_for(
    worker: Client, vapi: VapiStandIn
) -> None:
    handle = await start_bill(worker, ended_call(unique("assistant")))
    await until_parked(handle, "unknown_assistant")
    assert await tries(handle, "fetch_call") == 0
    await discard_it(handle)


async def test_vapi_is_asked_until_it_answers(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id, call = await an_organization(engine), ended_call()
    await vapi.shows(**shown(call, assistantId=await an_assistant(engine, org_id)))
    await vapi.misbehave(call.call_id, kind="status", status=500, times=3)
    handle = await start_bill(worker, call)
    await until_parked(handle, "fault")
    assert "500 Internal Server Error" in await page(handle)
    assert (await reprocess(handle, "Ann: mended")).state == "settled"


async def test_reconciliation_tells_the_process_that_waits_whose_the_call_is(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    day, reconciler = a_day(), Reconciler(worker, engine)
    org_id = await an_organization(engine)
    [call] = calls_on(day, None, 1)
    await vapi.shows(**shown(call))
    handle = await start_bill(worker, call)
    await until_parked(handle, "unknown_assistant")
    active = [{"assistantId": await an_assistant(engine, org_id)}]
    await vapi.shows(**shown(call, assistantActivations=active))
    report = await reconciler.reconcile(day)
    [finding] = await reconciler.findings(report)
    assert (finding.org_id, finding.outcome) == (org_id, FindingOutcome.RECOVERED)
    assert (await ended(handle)).state is CallState.SETTLED
    assert await balance_of(engine, org_id) == -56
    assert (await reconciler.reconcile(day)).total.unbilled == 0


async def test_what_never_connected_asks_vapi_nothing_though_it_is_nobody_s(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    call = ended_call(ended_at=await now(engine) + timedelta(seconds=1))
    refused = replace(call, started_at=None, ended_reason="assistant-request-returned-error")
    handle = await start_bill(worker, refused)
    bill = await ended(handle)
    assert (bill.state, bill.org_id) == (CallState.SETTLED, None)
    assert await tries(handle, "fetch_call") == 0
