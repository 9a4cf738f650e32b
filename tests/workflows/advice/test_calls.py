"""Every reason for which a call waits: what its page advises is done, literally, and settles it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from billing.calls.call import CallBill, CallState, EndedCall
from tests.support.advice import Advice, advice
from tests.support.api_server import Api
from tests.support.factories import (
    NOON,
    an_assistant,
    an_organization,
    balance_of,
    ended_call,
    keys_of,
    unique,
)
from tests.support.inbox_events import drain, report_of
from tests.support.parked_workflows import ended, start_bill, until_parked
from tests.support.recharged_payers import settle
from tests.support.stand_ins import StripeStandIn, VapiStandIn
from tests.workflows.conftest import World
from workflows.bill_call import BillCall

Call = WorkflowHandle[BillCall, CallBill]
PAID, MINUTE = 1000, 56
REGISTER = "POST /v1/organizations/{org_id}/assistants"
CHARGE_LENGTH = "POST /v1/calls/{call_id}/length"
REGISTER_CALL = "POST /v1/organizations/{org_id}/calls"
# Longer than it takes until a reason that goes away by itself is looked at again.
A_WHILE = timedelta(hours=2)


async def parked(api: Api, call: EndedCall, reason: str) -> tuple[Call, Advice]:
    handle = await start_bill(api.temporal, call)
    await until_parked(handle, reason)
    return handle, await advice(api, handle)


async def a_call(api: Api, **told: Any) -> tuple[str, EndedCall]:
    """A call of a minute of an organisation that can pay it."""
    org_id = await an_organization(api.engine, PAID)
    return org_id, replace(ended_call(await an_assistant(api.engine, org_id)), **told)


async def is_paid(api: Api, handle: Call, org_id: str, pence: int = MINUTE) -> None:
    """The process ends, and the entry is explained: whose it is, and which process made it."""
    bill = await ended(handle)
    assert (bill.state, bill.org_id) == (CallState.SETTLED, org_id)
    assert await balance_of(api.engine, org_id) == PAID - pence
    told = await api.operator.get(f"/v1/entries/call:{bill.call_id}")
    explained = told.raise_for_status().json()
    assert explained["entry"]["org_id"] == org_id
    assert explained["subject"]["workflow_id"] == handle.id


async def is_given_up(api: Api, handle: Call, org_id: str, call: EndedCall) -> None:
    """The process ends, and a report that comes after all costs nothing."""
    assert (await ended(handle)).state is CallState.DISCARDED
    await drain(api.temporal, api.engine, report_of(replace(call, ended_at=NOON)))
    shown = (await api.operator.get(f"/v1/calls/{call.call_id}")).raise_for_status().json()
    assert shown["state"] == "discarded"
    assert await keys_of(api.engine, org_id) == []


# ---- debt_limit


async def over_the_limit(api: Api) -> tuple[str, Call, Advice]:
    org_id = await an_organization(api.engine, debt_limit_minor=0)
    call = ended_call(await an_assistant(api.engine, org_id))
    return org_id, *await parked(api, call, "debt_limit")


async def test_debt_limit_the_customer_tops_up(api: Api, stripe: StripeStandIn) -> None:
    org_id, handle, told = await over_the_limit(api)
    assert told.to_do.startswith("Nothing, if the customer tops up")
    await settle(api.temporal, await stripe.payment(org_id, PAID))
    await is_paid(api, handle, org_id)


async def test_debt_limit_it_is_raised(api: Api) -> None:
    org_id, handle, told = await over_the_limit(api)
    limit = {"debt_limit_minor": MINUTE}
    await told.request("PUT /v1/organizations/{org_id}/debt-limit", limit, org_id=org_id)
    await is_paid(api, handle, org_id, PAID + MINUTE)


# ---- unknown_assistant


@pytest.mark.parametrize("came_over", ["assistant", "squad", "workflow", "phone_number"])
async def test_unknown_assistant_what_the_call_came_over_is_registered(
    api: Api, came_over: str
) -> None:
    """A squad's or workflow's call names no assistant, an inline one's only its number."""
    org_id, named = await an_organization(api.engine, PAID), f"{came_over}_id"
    names: dict[str, Any] = {named: unique(came_over)}
    call = replace(ended_call(), **names)
    handle, told = await parked(api, call, "unknown_assistant")
    assert came_over.replace("_", " ") in told.to_do
    ids = await told.request("GET /v1/calls/{call_id}", call_id=call.call_id)
    await told.request(REGISTER, {named: ids.json()["call"][named]}, org_id=org_id)
    await is_paid(api, handle, org_id)


@pytest.mark.parametrize("number", [None, "a number that many share"])
async def test_unknown_assistant_an_inline_assistants_call_alone_is_registered(
    api: Api, number: str | None
) -> None:
    org_id = await an_organization(api.engine, PAID)
    shared = number and unique("number")
    call = ended_call(phone_number_id=shared)
    handle, told = await parked(api, call, "unknown_assistant")
    await told.request(REGISTER_CALL, {"call_id": call.call_id}, org_id=org_id)
    await is_paid(api, handle, org_id)
    await parked(api, ended_call(phone_number_id=shared), "unknown_assistant")


# ---- unknown_duration


async def of_unknown_length(
    api: Api, vapi: VapiStandIn, **told: Any
) -> tuple[str, EndedCall, Call, Advice]:
    """A call of which neither its report nor Vapi says when it ended."""
    org_id, call = await a_call(api, ended_at=None, **told)
    await vapi.knows(call)
    return org_id, call, *await parked(api, call, "unknown_duration")


async def vapi_shows_its_end(vapi: VapiStandIn, call: EndedCall) -> None:
    assert call.started_at is not None
    await vapi.knows(replace(call, ended_at=call.started_at + timedelta(minutes=1)))


async def test_unknown_duration_vapi_shows_it_and_it_is_reprocessed(
    api: Api, vapi: VapiStandIn
) -> None:
    org_id, call, handle, told = await of_unknown_length(api, vapi)
    await vapi_shows_its_end(vapi, call)
    await told.command("reprocess")
    await is_paid(api, handle, org_id)


async def test_unknown_duration_it_asks_again_by_itself(
    world: World, api: Api, vapi: VapiStandIn
) -> None:
    org_id, call, handle, _ = await of_unknown_length(api, vapi)
    await vapi_shows_its_end(vapi, call)
    await world.let_pass(handle, A_WHILE)
    await is_paid(api, handle, org_id)


async def test_unknown_duration_the_length_that_is_said_is_charged(
    api: Api, vapi: VapiStandIn
) -> None:
    """It is longer than the call was let in for, and so nothing that is charged by itself."""
    org_id, call = await a_call(api, started_at=NOON - timedelta(minutes=3), cap_seconds=60)
    await vapi.knows(call)
    handle, told = await parked(api, call, "unknown_duration")
    body = {"note": "the recording says so"}
    await told.request(CHARGE_LENGTH, body, call_id=call.call_id)
    await is_paid(api, handle, org_id, 3 * MINUTE - 2)


async def test_unknown_duration_another_length_is_charged(api: Api, vapi: VapiStandIn) -> None:
    """Two are said that contradict each other, and by Vapi none."""
    org_id, call = await a_call(api, reported_seconds=Decimal(600))
    await vapi.knows(replace(call, ended_at=None))
    handle, told = await parked(api, call, "unknown_duration")
    body = {"note": "the recording says so", "seconds": 120}
    await told.request(CHARGE_LENGTH, body, call_id=call.call_id)
    await is_paid(api, handle, org_id, 2 * MINUTE - 1)


async def test_unknown_duration_it_never_took_place(api: Api, vapi: VapiStandIn) -> None:
    org_id, call, handle, told = await of_unknown_length(api, vapi)
    await told.command("discard")
    await is_given_up(api, handle, org_id, call)


# ---- no_tariff


async def test_no_tariff_one_is_added_that_was_in_effect(api: Api) -> None:
    """The defaults begin in 2020; before them an organisation's own could not go."""
    long_ago = datetime(2005, 6, 2, 12, tzinfo=UTC)
    org_id, call = await a_call(api, started_at=long_ago - timedelta(minutes=1), ended_at=long_ago)
    handle, told = await parked(api, call, "no_tariff")
    tariff = {
        "tariff_id": unique("tariff"),
        "currency": "usd",
        "rate_minor_per_minute": "65",
        "fx_rate": "0.79",
        "wallet_currency": "gbp",
        "effective_from": (long_ago - timedelta(days=1)).isoformat(),
    }
    await told.request("POST /v1/tariffs", tariff)
    await is_paid(api, handle, org_id, 52)


# ---- call_not_ended, call_missing, fault


async def test_call_not_ended_nothing_is_done(world: World, api: Api, vapi: VapiStandIn) -> None:
    org_id, call = await a_call(api)
    await vapi.knows(replace(call, ended_at=None), status="in-progress")
    handle, told = await parked(api, replace(call, ended_at=None), "call_not_ended")
    assert told.to_do.startswith("Nothing to do")
    await vapi.knows(call)
    await world.let_pass(handle, A_WHILE)
    await is_paid(api, handle, org_id)


async def test_call_missing_the_key_is_of_the_right_account_now(
    api: Api, vapi: VapiStandIn
) -> None:
    org_id, call = await a_call(api)
    handle, told = await parked(api, replace(call, ended_at=None), "call_missing")
    await vapi.knows(call)
    await told.command("reprocess")
    await is_paid(api, handle, org_id)


async def test_call_missing_the_call_was_deleted(api: Api) -> None:
    org_id, call = await a_call(api)
    handle, told = await parked(api, replace(call, ended_at=None), "call_missing")
    await told.command("discard")
    await is_given_up(api, handle, org_id, call)


@pytest.mark.parametrize("how", ["reprocess", "by itself"])
async def test_fault_the_cause_is_mended(
    world: World, api: Api, vapi: VapiStandIn, how: str
) -> None:
    org_id, call = await a_call(api)
    await vapi.knows(call)
    await vapi.misbehave(call.call_id, kind="status", status=500, times=3)
    handle, told = await parked(api, replace(call, ended_at=None), "fault")
    if how == "reprocess":
        await told.command("reprocess")
    else:
        await world.let_pass(handle, A_WHILE)
    await is_paid(api, handle, org_id)
