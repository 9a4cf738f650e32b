"""Why a call ended is shown to all who may see it; what Vapi charges for it, to operators only."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import httpx

from billing.calls.call import EndedCall
from billing.reconciliation.reconciliation import RunStatus
from store.calls import calls
from tests.support.api_server import Api
from tests.support.factories import an_assistant, an_organization, ended_call
from tests.support.reconciliation_runs import a_finding, a_run, record


async def a_call(api: Api) -> tuple[str, EndedCall]:
    org_id = await an_organization(api.engine, 1000)
    call = ended_call(await an_assistant(api.engine, org_id))
    call = replace(call, ended_reason="silence-timed-out", provider_cost_usd=Decimal("0.1075"))
    async with api.engine.begin() as connection:
        await calls.charge(connection, [call])
    return org_id, call


async def shown(client: httpx.AsyncClient, org_id: str, call: EndedCall) -> list[dict[str, Any]]:
    """Read the call where it is shown: alone, in the list, and in the explanation of its entry."""

    async def read(path: str) -> Any:
        return (await client.get(path)).raise_for_status().json()

    listed = await read(f"/v1/organizations/{org_id}/calls")
    explained = await read(f"/v1/entries/call:{call.call_id}")
    alone = await read(f"/v1/calls/{call.call_id}")
    return [alone["call"], listed["items"][0]["call"], explained["call"]["call"]]


async def test_an_operator_is_shown_what_vapi_charges_and_the_organization_is_not(api: Api) -> None:
    org_id, call = await a_call(api)
    for client, cost in ((api.operator, "0.1075"), (await api.tenant(org_id), None)):
        for facts in await shown(client, org_id, call):
            assert facts["ended_reason"] == "silence-timed-out"
            assert facts["provider_cost_usd"] == cost


async def test_nor_is_it_shown_in_the_findings_of_its_own_reconciliation(api: Api) -> None:
    org_id, call = await a_call(api)
    found = replace(a_finding(org_id, 56, subject=call.call_id), call=call)
    run = await record(api.engine, a_run(org_id=org_id), {}, found, status=RunStatus.RUNNING)
    path = f"/v1/reconciliations/{run.run_id}/findings"
    for client, cost in ((api.operator, "0.1075"), (await api.tenant(org_id), None)):
        [item] = (await client.get(path)).raise_for_status().json()["items"]
        assert item["call"]["provider_cost_usd"] == cost
