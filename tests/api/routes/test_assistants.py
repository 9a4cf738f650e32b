"""Which assistants and numbers belong to an organisation, and the calls that wait to know."""

import pytest

from tests.support.answers import balance, parked, problem, settled
from tests.support.api_server import Api
from tests.support.factories import an_organization, unique
from tests.support.signed_webhooks import Webhook, call_id_of, message, report, with_bearer


def path(org_id: str) -> str:
    return f"/v1/organizations/{org_id}/assistants"


@pytest.mark.parametrize("kind", ["assistant", "squad", "workflow", "phone_number"])
async def test_the_same_registered_again_gives_what_exists(api: Api, kind: str) -> None:
    org_id, agent_id = await an_organization(api.engine), unique("agent")
    new = {f"{kind}_id": agent_id}
    first, again = [await api.operator.post(path(org_id), json=new) for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert (first.json()["agent_id"], first.json()["kind"]) == (agent_id, kind)
    assert (await api.operator.get(path(org_id))).json()["items"] == [first.json()]


async def test_an_assistant_of_another_organization_is_a_conflict(api: Api) -> None:
    owner, other = await an_organization(api.engine), await an_organization(api.engine)
    new = {"assistant_id": unique("assistant")}
    await api.operator.post(path(owner), json=new)
    problem(await api.operator.post(path(other), json=new), 409, "conflict")
    assert (await api.operator.get(path(other))).json()["items"] == []


async def test_an_assistant_cannot_be_registered_as_a_number_too(api: Api) -> None:
    org_id, agent_id = await an_organization(api.engine), unique("agent")
    await api.operator.post(path(org_id), json={"assistant_id": agent_id})
    answer = await api.operator.post(path(org_id), json={"phone_number_id": agent_id})
    problem(answer, 409, "conflict")


async def test_a_removed_assistant_can_be_registered_elsewhere(api: Api) -> None:
    owner, other = await an_organization(api.engine), await an_organization(api.engine)
    agent_id = unique("assistant")
    await api.operator.post(path(owner), json={"assistant_id": agent_id})
    assert (await api.operator.delete(f"{path(owner)}/{agent_id}")).status_code == 204
    assert (await api.operator.get(path(owner))).json()["items"] == []
    moved = await api.operator.post(path(other), json={"assistant_id": agent_id})
    assert moved.json()["org_id"] == other


async def test_only_an_assistant_of_this_organization_can_be_removed(api: Api) -> None:
    owner, other = await an_organization(api.engine), await an_organization(api.engine)
    agent_id = unique("assistant")
    await api.operator.post(path(owner), json={"assistant_id": agent_id})
    for not_there in (f"{path(other)}/{agent_id}", f"{path(owner)}/{unique('assistant')}"):
        problem(await api.operator.delete(not_there), 404, "not_found")
    assert len((await api.operator.get(path(owner))).json()["items"]) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"assistant_id": ""},
        {"assistant_id": "one", "squad_id": "another"},
        {"workflow_id": "one", "squad_id": "another", "phone_number_id": "a third"},
        {"assistant_id": "with space"},
        {"assistant_id": "\0"},
        {"assistant_id": "a" * 201},
    ],
)
async def test_it_takes_one_usable_id(api: Api, wrong: dict[str, str]) -> None:
    org_id = await an_organization(api.engine)
    problem(await api.operator.post(path(org_id), json=wrong), 422, "invalid")


async def test_a_number_is_given_the_assistant_that_answers_it_and_later_another(
    api: Api,
) -> None:
    org_id, number = await an_organization(api.engine), unique("number")
    for given, answers in ((None, None), ("first", "first"), (None, "first"), ("other", "other")):
        new = {"phone_number_id": number, "assistant_id": given}
        agent = (await api.operator.post(path(org_id), json=new)).raise_for_status().json()
        assert (agent["agent_id"], agent["kind"]) == (number, "phone_number")
        assert agent["answered_by"] == answers
    assert len((await api.operator.get(path(org_id))).json()["items"]) == 1


async def test_a_number_is_given_a_squad_or_a_workflow_that_answers_it(api: Api) -> None:
    org_id, number = await an_organization(api.engine), unique("number")
    for kind in ("squad", "workflow", "assistant"):
        new = {"phone_number_id": number, f"{kind}_id": "answers"}
        agent = (await api.operator.post(path(org_id), json=new)).raise_for_status().json()
        assert (agent["agent_id"], agent["kind"]) == (number, "phone_number")
        assert (agent["answered_by"], agent["answered_by_kind"]) == ("answers", kind)


async def test_nothing_is_registered_to_an_organization_that_does_not_exist(api: Api) -> None:
    new = {"assistant_id": unique("assistant")}
    problem(await api.operator.post(path(unique("org")), json=new), 404, "not_found")


async def test_registering_an_assistant_charges_the_calls_that_waited_for_it(
    working_api: Api,
) -> None:
    api = working_api
    org_id, assistant = await an_organization(api.engine, 1000), unique("assistant")
    webhooks = [report(assistant, 60) for _ in range(3)]
    for webhook in webhooks:
        await api.send(webhook)
        await parked(api, call_id_of(webhook), "unknown_assistant")
    await api.operator.post(path(org_id), json={"assistant_id": assistant})
    for webhook in webhooks:
        assert (await settled(api, call_id_of(webhook)))["org_id"] == org_id
    assert await balance(api, org_id) == 1000 - 3 * 56


async def test_registering_a_number_charges_the_calls_that_came_over_it(working_api: Api) -> None:
    api = working_api
    org_id, number, call_id = await an_organization(api.engine, 1000), unique("nr"), unique("call")
    call = {"id": call_id, "phoneNumberId": number}
    times = {"startedAt": "2026-11-02T12:00:00Z", "endedAt": "2026-11-02T12:01:00Z"}
    await api.send(with_bearer(message("end-of-call-report", call_id, call=call, **times)))
    await parked(api, call_id, "unknown_assistant")
    await api.operator.post(path(org_id), json={"phone_number_id": number})
    await settled(api, call_id)
    assert await balance(api, org_id) == 1000 - 56


async def test_a_call_of_a_squad_is_charged_once_the_squad_is_registered(working_api: Api) -> None:
    api = working_api
    org_id, squad, call_id = await an_organization(api.engine, 1000), unique("squad"), unique("c")
    await api.send(report_of_call(call_id, squadId=squad))
    await parked(api, call_id, "unknown_assistant")
    await api.operator.post(path(org_id), json={"squad_id": squad})
    assert (await settled(api, call_id))["org_id"] == org_id
    assert await balance(api, org_id) == 1000 - 56


async def test_a_call_of_an_inline_assistant_is_charged_once_it_is_given_to_somebody(
    working_api: Api,
) -> None:
    """Before it ends, as by the platform that starts it, or by hand afterwards."""
    api = working_api
    org_id, other = await an_organization(api.engine, 1000), await an_organization(api.engine)
    before, afterwards = unique("call"), unique("call")
    calls = f"/v1/organizations/{org_id}/calls"
    for _ in range(2):
        answer = await api.operator.post(calls, json={"call_id": before})
        assert (answer.status_code, answer.json()) == (201, {"call_id": before, "org_id": org_id})
    await api.send(report_of_call(before))
    await api.send(report_of_call(afterwards))
    await parked(api, afterwards, "unknown_assistant")
    await api.operator.post(calls, json={"call_id": afterwards})
    for call_id in (before, afterwards):
        assert (await settled(api, call_id))["org_id"] == org_id
        taken = {"call_id": call_id}
        refused = await api.operator.post(f"/v1/organizations/{other}/calls", json=taken)
        problem(refused, 409, "conflict")
    assert await balance(api, org_id) == 1000 - 2 * 56


def report_of_call(call_id: str, **named: str) -> Webhook:
    """Report a call of a minute that was started with this."""
    call = {"id": call_id, **named}
    times = {"startedAt": "2026-11-02T12:00:00Z", "endedAt": "2026-11-02T12:01:00Z"}
    return with_bearer(message("end-of-call-report", call_id, call=call, **times))
