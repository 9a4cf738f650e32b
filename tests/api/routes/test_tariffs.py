"""Tariffs over HTTP: added once, never changed, and what waited for one is charged."""

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import insert

from billing.ledger.money import Currency
from billing.tariffs.tariff import Tariff
from store.schema import messages, tariffs
from tests.support.answers import balance, parked, problem, settled
from tests.support.api_server import Api
from tests.support.factories import a_sid, an_assistant, an_organization, unique
from tests.support.signed_webhooks import message, with_bearer

PATHS = ("/v1/tariffs", "/v1/sms-tariffs")
LONG_AGO = datetime(2005, 6, 1, tzinfo=UTC)


def wanted(path: str, org_id: str | None, **changes: Any) -> dict[str, Any]:
    """A tariff of 65 cents a minute, or 4.5 cents a segment to Britain, from 2099 on."""
    is_call = path == "/v1/tariffs"
    figures = (
        {"tariff_id": unique("tariff"), "rate_minor_per_minute": "65"}
        if is_call
        else {
            "sms_tariff_id": unique("price"), "price_minor_per_segment": "4.5", "prefix": "44"
        }
    )  # fmt: skip
    return {
        "org_id": org_id,
        "currency": "usd",
        "fx_rate": "0.79",
        "wallet_currency": "gbp",
        "effective_from": "2099-01-01T00:00:00Z",
        **figures,
        **changes,
    }


def id_of(tariff: dict[str, Any]) -> str:
    return str(tariff.get("tariff_id") or tariff["sms_tariff_id"])


async def ids(api: Api, path: str, **asked: Any) -> set[str]:
    answer = (await api.operator.get(path, params={"limit": 200, **asked})).raise_for_status()
    return {id_of(one) for one in answer.json()["items"]}


@pytest.mark.parametrize("path", PATHS)
async def test_a_tariff_is_added_once_and_read_as_it_was_written(api: Api, path: str) -> None:
    org_id = await an_organization(api.engine)
    new = wanted(path, org_id)
    first, again = [await api.operator.post(path, json=new) for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert new.items() <= first.json().items()
    [listed] = [
        one
        for one in (await api.operator.get(path, params={"org_id": org_id})).json()["items"]
        if one["org_id"] == org_id
    ]
    assert listed == first.json()


@pytest.mark.parametrize("path", PATHS)
async def test_another_tariff_of_that_id_or_moment_is_a_conflict(api: Api, path: str) -> None:
    new = wanted(path, await an_organization(api.engine))
    await api.operator.post(path, json=new)
    problem(await api.operator.post(path, json={**new, "fx_rate": "0.8"}), 409, "conflict")
    other = {**wanted(path, new["org_id"]), "fx_rate": "0.8"}
    refused = problem(await api.operator.post(path, json=other), 409, "conflict")
    assert "same moment" in refused["detail"]
    shown = await ids(api, path, org_id=new["org_id"])
    assert (id_of(new) in shown, id_of(other) in shown) == (True, False)


@pytest.mark.parametrize("path", PATHS)
async def test_of_many_that_would_begin_at_once_one_is_added(api: Api, path: str) -> None:
    org_id = await an_organization(api.engine)
    many = [wanted(path, org_id) for _ in range(10)]
    answers = await asyncio.gather(*(api.operator.post(path, json=new) for new in many))
    assert sorted(one.status_code for one in answers) == [201, *[409] * 9]


@pytest.mark.parametrize("path", PATHS)
async def test_a_tariff_does_not_change_what_the_past_has_cost(api: Api, path: str) -> None:
    org_id = await an_organization(api.engine)
    new = wanted(path, org_id, effective_from="2026-11-01T00:00:00Z")
    answer = await api.operator.post(path, json=new)
    assert "default-gbp" in problem(answer, 422, "changes_the_past")["detail"]
    assert id_of(new) not in await ids(api, path, org_id=org_id)


@pytest.mark.parametrize("path", PATHS)
async def test_a_tariff_is_of_an_organization_that_exists_and_of_its_currency(
    api: Api, path: str
) -> None:
    org_id = await an_organization(api.engine, currency=Currency.USD)
    for_nobody = await api.operator.post(path, json=wanted(path, unique("org")))
    problem(for_nobody, 404, "not_found")
    problem(await api.operator.post(path, json=wanted(path, org_id)), 422, "currency_mismatch")
    own = wanted(path, org_id, wallet_currency="usd", fx_rate="1")
    assert (await api.operator.post(path, json=own)).status_code == 201


@pytest.mark.parametrize(
    "wrong",
    [
        {"currency": "eur"},
        {"fx_rate": "0"},
        {"fx_rate": "-1"},
        {"fx_rate": "NaN"},
        {"wallet_currency": "usd"},
        {"effective_from": "2099-01-01T00:00:00"},
        {"effective_from": "1999-01-01T00:00:00Z"},
        {"surcharge": 1},
        {"org_id": "\0"},
    ],
)
@pytest.mark.parametrize("path", PATHS)
async def test_figures_that_no_tariff_can_have_are_refused(
    api: Api, path: str, wrong: dict[str, Any]
) -> None:
    problem(await api.operator.post(path, json={**wanted(path, None), **wrong}), 422, "invalid")


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (PATHS[0], {"rate_minor_per_minute": "-1"}),
        (PATHS[0], {"rate_minor_per_minute": "0.0000001"}),
        (PATHS[0], {"increment_seconds": 0}),
        (PATHS[0], {"minimum_minor": -1}),
        (PATHS[1], {"price_minor_per_segment": "-1"}),
        (PATHS[1], {"prefix": "+44"}),
        (PATHS[1], {"channel": "other"}),
        (PATHS[1], {"channel": "messenger"}),
        (PATHS[1], {"channel": None}),
        (PATHS[1], {"prefix": "4477001"}),
    ],
)
async def test_a_rate_that_cannot_be_is_refused(api: Api, path: str, wrong: dict[str, Any]) -> None:
    problem(await api.operator.post(path, json={**wanted(path, None), **wrong}), 422, "invalid")


@pytest.mark.parametrize("path", PATHS)
async def test_what_is_in_effect_is_told_from_what_is_to_come(api: Api, path: str) -> None:
    org_id = await an_organization(api.engine)
    new = wanted(path, org_id)
    await api.operator.post(path, json=new)
    assert id_of(new) in await ids(api, path, org_id=org_id)
    now = await ids(api, path, org_id=org_id, in_effect=True)
    assert id_of(new) not in now
    assert any(one.startswith("default-gbp") for one in now)
    assert not any("usd-" in one for one in now)


@pytest.mark.parametrize("kind", ["tariffs", "sms-tariffs"])
async def test_an_organization_reads_its_own_and_the_defaults_and_adds_none(
    api: Api, kind: str
) -> None:
    org_id, another = await an_organization(api.engine), await an_organization(api.engine)
    own, theirs = (wanted(f"/v1/{kind}", one) for one in (org_id, another))
    for new in (own, theirs):
        (await api.operator.post(f"/v1/{kind}", json=new)).raise_for_status()
    tenant = await api.tenant(org_id)
    answer = await tenant.get(f"/v1/organizations/{org_id}/{kind}", params={"limit": 200})
    shown = {id_of(one) for one in answer.raise_for_status().json()["items"]}
    assert id_of(own) in shown
    assert id_of(theirs) not in shown
    assert any(one.startswith("default-gbp") for one in shown)
    for refused in (
        await tenant.get(f"/v1/organizations/{another}/{kind}"),
        await tenant.get(f"/v1/{kind}"),
        await tenant.post(f"/v1/{kind}", json=own),
    ):
        problem(refused, 403, "forbidden")


async def since_2020(api: Api, org_id: str) -> None:
    """Give an organisation its own tariffs, before which it has none, as the defaults have."""
    own = Tariff(
        tariff_id=unique("tariff"),
        currency=Currency.USD,
        rate_minor_per_minute=Decimal(70),
        increment_seconds=1,
        minimum_minor=0,
        fx_rate=Decimal("0.79"),
        wallet_currency=Currency.GBP,
        effective_from=datetime(2020, 1, 1, tzinfo=UTC),
        org_id=org_id,
    )
    async with api.engine.begin() as connection:
        await connection.execute(insert(tariffs).values(asdict(own)))


async def test_a_call_that_waited_for_a_tariff_is_charged_by_it(working_api: Api) -> None:
    api = working_api
    org_id = await an_organization(api.engine, 1000)
    assistant = await an_assistant(api.engine, org_id)
    await since_2020(api, org_id)
    call_id = unique("call")
    times = {"startedAt": "2005-06-02T12:00:00Z", "endedAt": "2005-06-02T12:01:00Z"}
    about = {"id": call_id, "assistantId": assistant}
    await api.send(with_bearer(message("end-of-call-report", call_id, call=about, **times)))
    await parked(api, call_id, "no_tariff")
    new = wanted("/v1/tariffs", org_id, effective_from=LONG_AGO.isoformat())
    (await api.operator.post("/v1/tariffs", json=new)).raise_for_status()
    call = await settled(api, call_id)
    assert call["charge"]["tariff_id"] == new["tariff_id"]
    assert await balance(api, org_id) == 1000 - 52


async def test_messages_that_wait_for_a_price_are_told_of_one_and_told_again(api: Api) -> None:
    org_id, sid = await an_organization(api.engine), a_sid()
    waiting = {
        "sid": sid, "account_sid": "AC1", "org_id": org_id, "status": "sent", "status_rank": 5,
        "state": "no_tariff", "workflow_id": f"sms/{sid}",
    }  # fmt: skip
    async with api.engine.begin() as connection:
        await connection.execute(insert(messages).values(waiting))
    new = wanted("/v1/sms-tariffs", org_id)
    for status in (201, 200):
        assert (await api.operator.post("/v1/sms-tariffs", json=new)).status_code == status
    handle = api.temporal.get_workflow_handle(f"collect/{org_id}/{new['sms_tariff_id']}")
    history = await handle.fetch_history()
    [told] = history.events[0].workflow_execution_started_event_attributes.input.payloads
    assert f"sms/{sid}" in told.data.decode()


async def test_a_price_is_of_its_channel_and_of_sms_if_it_names_none(api: Api) -> None:
    path = PATHS[1]
    org_id = await an_organization(api.engine)
    added = {}
    for channel in (None, "mms", "whatsapp", "rcs"):
        new = wanted(path, org_id, **({"channel": channel} if channel else {}))
        answer = await api.operator.post(path, json=new)
        assert (answer.status_code, answer.json()["channel"]) == (201, channel or "sms")
        added[answer.json()["channel"]] = id_of(new)
    for channel, name in added.items():
        shown = await ids(api, path, org_id=org_id, channel=channel)
        assert shown & set(added.values()) == {name}
    tenant = await api.tenant(org_id)
    own = f"/v1/organizations/{org_id}/sms-tariffs"
    answer = (await tenant.get(own, params={"channel": "rcs"})).raise_for_status()
    assert {one["channel"] for one in answer.json()["items"]} == {"rcs"}
    assert added["rcs"] in {id_of(one) for one in answer.json()["items"]}
    problem(await tenant.get(own, params={"channel": "fax"}), 422, "invalid")


@pytest.mark.parametrize("channel", ["whatsapp", "rcs"])
async def test_the_first_price_of_a_channel_that_was_free_begins_in_the_future(
    api: Api, channel: str
) -> None:
    org_id = await an_organization(api.engine)
    new = wanted(PATHS[1], org_id, channel=channel, effective_from="2026-11-01T00:00:00Z")
    answer = await api.operator.post(PATHS[1], json=new)
    refused = problem(answer, 422, "changes_the_past")
    assert f"messages by {channel} cost nothing then" in refused["detail"]


async def test_only_messages_of_its_channel_are_told_of_a_price(api: Api) -> None:
    org_id = await an_organization(api.engine)
    waiting = [
        {"sid": a_sid(), "account_sid": "AC1", "org_id": org_id, "status": "sent",
         "status_rank": 5, "state": "no_tariff", "workflow_id": "sms/1", "channel": channel}
        for channel in ("rcs", "mms", None)
    ]  # fmt: skip
    async with api.engine.begin() as connection:
        await connection.execute(insert(messages).values(waiting))
    new = wanted(PATHS[1], org_id, channel="rcs")
    assert (await api.operator.post(PATHS[1], json=new)).status_code == 201
    handle = api.temporal.get_workflow_handle(f"collect/{org_id}/{new['sms_tariff_id']}")
    history = await handle.fetch_history()
    [told] = history.events[0].workflow_execution_started_event_attributes.input.payloads
    named = [f"sms/{one['sid']}" in told.data.decode() for one in waiting]
    assert named == [True, False, True]
