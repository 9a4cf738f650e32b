"""Reading calls from Vapi's API, over HTTP."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from urllib.parse import unquote

import httpx
import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.calls.vapi import VapiActivities
from billing.calls.call import EndedCall, duration_seconds
from billing.calls.facts import for_organization
from billing.errors import CallMissing, CallNotEnded
from tests.support.factories import as_api, ended_call, unique
from tests.support.stand_ins import VapiStandIn
from wiring import Clients


async def fetch(clients: Clients, call_id: str) -> EndedCall:
    return await ActivityEnvironment().run(VapiActivities(clients.vapi).fetch_call, call_id)


async def test_an_ended_call_is_read_with_its_times_as_final(
    clients: Clients, vapi: VapiStandIn
) -> None:
    call = ended_call("assistant", 61)
    await vapi.knows(call)
    fetched = await fetch(clients, call.call_id)
    assert fetched == replace(as_api(call), provider_cost_usd=Decimal("0.1118"))


async def test_a_call_that_never_connected_took_no_time(
    clients: Clients, vapi: VapiStandIn
) -> None:
    call = replace(ended_call("assistant"), started_at=None)
    await vapi.knows(call)
    fetched = await fetch(clients, call.call_id)
    assert duration_seconds(fetched) == 0
    assert fetched.ended_at == call.ended_at


@pytest.mark.parametrize("call_id", ["../phone-number", "..", "a/b?c=d#e", "a%2Fb", "ä b"])
async def test_the_id_of_a_call_is_no_address(call_id: str) -> None:
    """A sender chooses it: it stays one part of the path, whatever is in it."""
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path.decode())
        return httpx.Response(404)

    transport = httpx.MockTransport(answer)
    async with httpx.AsyncClient(base_url="https://vapi.example", transport=transport) as http:
        with pytest.raises(CallMissing):
            await ActivityEnvironment().run(VapiActivities(http).fetch_call, call_id)
    [path] = asked
    _, call, quoted = path.split("/")
    assert (call, unquote(quoted)) == ("call", call_id)


async def test_a_call_that_vapi_does_not_know_is_refused(clients: Clients) -> None:
    with pytest.raises(CallMissing):
        await fetch(clients, unique("call"))


@pytest.mark.parametrize("status", ["queued", "ringing", "in-progress", "forwarding"])
async def test_a_call_that_has_not_ended_is_refused(
    clients: Clients, vapi: VapiStandIn, status: str
) -> None:
    call = replace(ended_call("assistant"), ended_at=None)
    await vapi.knows(call, status)
    with pytest.raises(CallNotEnded, match=status):
        await fetch(clients, call.call_id)


@pytest.mark.parametrize("status", ["queued", "ringing", "in-progress", "forwarding"])
async def test_a_call_that_has_an_end_and_a_reason_for_it_has_ended_whatever_its_status_says(
    clients: Clients, vapi: VapiStandIn, status: str
) -> None:
    call = ended_call("assistant", 61)
    await vapi.knows(call, status)
    assert for_organization(await fetch(clients, call.call_id)) == as_api(call)


@pytest.mark.parametrize(
    ("seconds", "delay"),
    [(7, timedelta(seconds=7)), (None, None), (86_400, timedelta(minutes=5))],
)
async def test_a_rate_limit_is_a_fault_that_comes_back_when_vapi_says(
    clients: Clients, vapi: VapiStandIn, seconds: int | None, delay: timedelta | None
) -> None:
    call = ended_call("assistant")
    await vapi.knows(call)
    await vapi.misbehave(call.call_id, kind="status", status=429, retry_after=seconds)
    with pytest.raises(ApplicationError) as limited:
        await fetch(clients, call.call_id)
    assert (limited.value.non_retryable, limited.value.next_retry_delay) == (False, delay)


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 401}, {"kind": "reset"}])
async def test_an_outage_is_a_fault_and_not_a_refusal(
    clients: Clients, vapi: VapiStandIn, fault: dict[str, object]
) -> None:
    call = ended_call("assistant")
    await vapi.knows(call)
    await vapi.misbehave(call.call_id, **{"kind": "status", **fault})
    with pytest.raises(httpx.HTTPError):
        await fetch(clients, call.call_id)
