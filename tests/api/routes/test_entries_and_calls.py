"""The ledger and the calls, as an organisation's accountant reads them."""

from typing import Any

import httpx
import pytest

from tests.support.answers import call_of, parked, problem, settled
from tests.support.api_server import Api
from tests.support.factories import an_assistant, an_organization, credit, unique
from tests.support.signed_webhooks import call_id_of, report


async def pages(client: httpx.AsyncClient, path: str, limit: int) -> list[list[dict[str, Any]]]:
    """Follow the cursors from the first page to the last."""
    found: list[list[dict[str, Any]]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await client.get(path, params={"limit": str(limit), **cursor})
        page = answer.raise_for_status().json()
        found.append(page["items"])
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


async def test_entries_are_read_page_by_page_newest_first_each_once(api: Api) -> None:
    org_id = await an_organization(api.engine)
    for amount_minor in range(1, 24):
        await credit(api.engine, org_id, amount_minor)
    found = await pages(api.operator, f"/v1/organizations/{org_id}/entries", 5)
    assert [len(page) for page in found] == [5, 5, 5, 5, 3]
    amounts = [entry["amount"]["amount_minor"] for page in found for entry in page]
    assert amounts == list(range(23, 0, -1))


async def test_a_page_that_is_just_full_is_the_last(api: Api) -> None:
    org_id = await an_organization(api.engine)
    for _ in range(4):
        await credit(api.engine, org_id, 100)
    found = await pages(api.operator, f"/v1/organizations/{org_id}/entries", 2)
    assert [len(page) for page in found] == [2, 2]


async def test_entries_made_while_somebody_reads_shift_no_page(api: Api) -> None:
    org_id = await an_organization(api.engine)
    for amount_minor in (1, 2, 3, 4):
        await credit(api.engine, org_id, amount_minor)
    path = f"/v1/organizations/{org_id}/entries"
    first = (await api.operator.get(path, params={"limit": 2})).json()
    await credit(api.engine, org_id, 5)
    rest = {"limit": "2", "cursor": first["next_cursor"]}
    second = (await api.operator.get(path, params=rest)).json()
    amounts = [entry["amount"]["amount_minor"] for entry in first["items"] + second["items"]]
    assert amounts == [4, 3, 2, 1]


async def test_an_entry_says_what_moved_where_and_the_balance_after_it(api: Api) -> None:
    org_id = await an_organization(api.engine, 2500)
    [[entry]] = await pages(api.operator, f"/v1/organizations/{org_id}/entries", 5)
    assert (entry["kind"], entry["org_id"]) == ("topup", org_id)
    assert (entry["debit_account"], entry["credit_account"]) == ("stripe", f"wallet:{org_id}")
    assert entry["amount"] == {"amount_minor": 2500, "currency": "gbp"}
    assert entry["balance_after"] == {"amount_minor": 2500, "currency": "gbp"}


async def test_a_new_wallet_has_no_entries(api: Api) -> None:
    org_id = await an_organization(api.engine)
    assert await pages(api.operator, f"/v1/organizations/{org_id}/entries", 5) == [[]]


@pytest.mark.parametrize("noun", ["entries", "calls"])
@pytest.mark.parametrize(
    "wrong", [{"limit": "0"}, {"limit": "201"}, {"cursor": "0"}, {"cursor": "x"},
              {"cursor": str(2**63)}]
)  # fmt: skip
async def test_a_page_that_cannot_be_is_invalid(api: Api, noun: str, wrong: dict[str, str]) -> None:
    org_id = await an_organization(api.engine)
    answer = await api.operator.get(f"/v1/organizations/{org_id}/{noun}", params=wrong)
    [field] = wrong
    assert problem(answer, 422, "invalid")["errors"][0]["at"] == f"query.{field}"


async def test_a_charged_call_says_what_it_cost_and_why_and_who_settled_it(
    working_api: Api,
) -> None:
    api = working_api
    assistant = await an_assistant(api.engine, org_id := await an_organization(api.engine, 1000))
    webhook = report(assistant, 210)
    await api.send(webhook)
    call_id = call_id_of(webhook)
    call = await settled(api, call_id)
    assert (call["org_id"], call["workflow_id"]) == (org_id, f"call/{call_id}")
    assert call["call"]["assistant_id"] == assistant
    assert call["charge"]["amount"] == {"amount_minor": 194, "currency": "gbp"}
    assert call["charge"]["rated"] == {"amount_minor": 245, "currency": "usd"}
    assert call["charge"]["billed_seconds"] == 210
    assert call["charge"]["tariff_id"] == "default-gbp-2020"
    [entry, _] = (await api.operator.get(f"/v1/organizations/{org_id}/entries")).json()["items"]
    assert (entry["key"], entry["note"]) == (f"call:{call_id}", call["note"])
    assert "210 s" in call["note"]


async def test_a_refused_call_says_what_it_would_cost_and_which_workflow_waits(
    working_api: Api,
) -> None:
    api = working_api
    assistant = await an_assistant(api.engine, await an_organization(api.engine, 0))
    webhook = report(assistant, 600)
    await api.send(webhook)
    call_id = call_id_of(webhook)
    await parked(api, call_id, "debt_limit")
    call = await call_of(api, call_id)
    assert call["charge"]["amount"] == {"amount_minor": 553, "currency": "gbp"}
    assert call["workflow_id"] == f"call/{call_id}"


async def test_calls_are_read_page_by_page_and_by_state(working_api: Api) -> None:
    api = working_api
    assistant = await an_assistant(api.engine, org_id := await an_organization(api.engine, 0))
    cheap = [call_id_of(one) for one in await sent(api, assistant, [10, 11, 12])]
    for call_id in cheap:
        await settled(api, call_id)
    [dear] = [call_id_of(one) for one in await sent(api, assistant, [3000])]
    await parked(api, dear, "debt_limit")
    path = f"/v1/organizations/{org_id}/calls"
    found = await pages(api.operator, path, 3)
    assert [len(page) for page in found] == [3, 1]
    assert found[0][0]["call"]["call_id"] == dear
    assert {call["call"]["call_id"] for page in found for call in page} == {*cheap, dear}
    for state, expected in (("settled", set(cheap)), ("debt_limit", {dear}), ("discarded", set())):
        some = (await api.operator.get(path, params={"state": state})).json()["items"]
        assert {call["call"]["call_id"] for call in some} == expected


async def sent(api: Api, assistant: str, seconds: list[int]) -> list[Any]:
    webhooks = [report(assistant, each) for each in seconds]
    for webhook in webhooks:
        await api.send(webhook)
    return webhooks


async def test_a_state_that_does_not_exist_is_invalid(api: Api) -> None:
    org_id = await an_organization(api.engine)
    answer = await api.operator.get(f"/v1/organizations/{org_id}/calls", params={"state": "lost"})
    problem(answer, 422, "invalid")


async def test_a_call_that_was_never_received_is_not_found(api: Api) -> None:
    problem(await api.operator.get(f"/v1/calls/{unique('call')}"), 404, "not_found")
