"""An operator states how long a call took, and it is charged by that."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from billing.calls.call import CallBill, EndedCall
from billing.calls.call_in_progress import OngoingCall
from store.calls import calls_in_progress
from tests.support.answers import problem
from tests.support.api_server import Api
from tests.support.factories import an_assistant, an_organization, balance_of, ended_call
from tests.support.parked_workflows import start_bill, until_parked
from tests.support.stand_ins import VapiStandIn

NOTE = "the recording says so"
Parked = tuple[str, EndedCall, WorkflowHandle[Any, CallBill]]


async def a_call_beyond_its_cap(api: Api, vapi: VapiStandIn, **told: Any) -> Parked:
    """Park a call of 700 s that the gate let in for 600."""
    org_id = await an_organization(api.engine, 10_000)
    call = replace(ended_call(await an_assistant(api.engine, org_id), 700), **told)
    await vapi.knows(call)
    async with api.engine.begin() as connection:
        ongoing = OngoingCall(call.call_id, call.assistant_id, None, 3600.0, 600)
        await calls_in_progress.note(connection, [ongoing])
    handle = await start_bill(api.temporal, call)
    await until_parked(handle, "unknown_duration")
    return org_id, call, handle


async def charge_length(api: Api, call: EndedCall, **said: Any) -> Any:
    return await api.operator.post(f"/v1/calls/{call.call_id}/length", json=said)


@pytest.mark.parametrize(("said", "seconds"), [({}, 700), ({"seconds": "61.5"}, 62)])
async def test_a_call_is_charged_by_the_length_that_is_said_or_another(
    working_api: Api, vapi: VapiStandIn, said: dict[str, str], seconds: int
) -> None:
    org_id, call, handle = await a_call_beyond_its_cap(working_api, vapi)
    answer = await charge_length(working_api, call, note=NOTE, **said)
    assert answer.raise_for_status().json()["standing"] == "settled"
    bill = await handle.result()
    assert bill.charge is not None
    assert bill.charge.billed_seconds == seconds
    assert await balance_of(working_api.engine, org_id) == 10_000 - bill.charge.amount.amount_minor
    shown = (await working_api.operator.get(f"/v1/calls/{call.call_id}")).json()["call"]
    assert NOTE in shown["stated"]["who_and_why"]
    assert "the tests' operator" in shown["stated"]["who_and_why"]
    said_of_it = await working_api.operator.get(
        "/v1/decisions", params={"workflow_id": f"call/{call.call_id}"}
    )
    [decision] = said_of_it.json()["items"]
    assert NOTE in decision["who_and_why"]
    again = await charge_length(working_api, call, note=NOTE, **said)
    problem(again, 409, "not_parked")


async def test_a_length_that_nobody_says_has_to_be_stated(
    working_api: Api, vapi: VapiStandIn
) -> None:
    _, call, handle = await a_call_beyond_its_cap(
        working_api, vapi, ended_at=None, reported_seconds=Decimal(700)
    )
    refused = await charge_length(working_api, call, note=NOTE)
    problem(refused, 422, "length_unknown")
    answer = await charge_length(working_api, call, note=NOTE, seconds=61)
    assert answer.raise_for_status().json()["standing"] == "settled"
    assert (await handle.result()).charge is not None


@pytest.mark.parametrize("said", [{"seconds": 61}, {"seconds": -1, "note": NOTE}])
async def test_who_states_a_length_says_why_and_what_can_be(
    working_api: Api, vapi: VapiStandIn, said: dict[str, Any]
) -> None:
    _, call, _ = await a_call_beyond_its_cap(working_api, vapi)
    assert (await charge_length(working_api, call, **said)).status_code == 422
    too_long = await charge_length(working_api, call, note=NOTE, seconds=43_201)
    assert too_long.status_code == 422
