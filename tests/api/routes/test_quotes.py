"""Quotes over HTTP: what a call or a message would cost, and whether it could be paid now."""

from dataclasses import replace
from typing import Any

import pytest

from billing.tariffs.channel import Channel
from store.ledger import ledger
from tests.api.routes.test_tariffs import wanted
from tests.support.answers import balance, problem
from tests.support.api_server import Api
from tests.support.channels import priced_since_2020
from tests.support.factories import NOON, an_organization, charge_of, unique


async def quoted(api: Api, org_id: str, **asked: Any) -> dict[str, Any]:
    answer = await api.operator.post("/v1/quotes", json={"org_id": org_id, **asked})
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


@pytest.mark.parametrize(
    ("balance_minor", "seconds", "is_payable"),
    [(999, "60", True), (-444, "60", True), (-445, "60", False), (-600, "0", True)],
)
async def test_a_quote_says_what_a_call_costs_and_whether_it_can_be_paid(
    api: Api, balance_minor: int, seconds: str, *, is_payable: bool
) -> None:
    org_id = await an_organization(api.engine, 1000, debt_limit_minor=500)
    debt = replace(charge_of(org_id, 1000 - balance_minor), refusable=False)
    async with api.engine.begin() as connection:
        await ledger.post(connection, [debt])
    quote = await quoted(api, org_id, duration_seconds=seconds)
    cost = 56 if seconds == "60" else 0
    assert quote["amount"] == {"amount_minor": cost, "currency": "gbp"}
    assert quote["tariff_id"] == "default-gbp-2020"
    assert quote["explanation"].startswith(f"{seconds} s = ")
    assert quote["balance"]["amount_minor"] == balance_minor
    assert quote["is_payable"] is is_payable
    assert (quote["refusal"] is None) is is_payable


async def test_a_quote_of_a_message_is_what_the_message_would_cost(api: Api) -> None:
    org_id = await an_organization(api.engine, 1000)
    text = {"destination": "+447700900123", "segments": 2}
    quote = await quoted(api, org_id, message=text, at=NOON.isoformat())
    assert (quote["amount"]["amount_minor"], quote["tariff_id"]) == (10, "default-gbp-44-2020")
    assert quote["explanation"].startswith("2 x 6 USD minor units by sms to 44 at 0.79")
    assert quote["is_payable"]


async def test_a_quote_of_a_message_is_by_its_channel(api: Api) -> None:
    org_id = await an_organization(api.engine, 1000)
    await priced_since_2020(api.engine, Channel.WHATSAPP, "7", org_id)
    text = {"destination": "+447700900123", "segments": 2}
    for channel, pence in (("sms", 10), ("mms", 10), ("whatsapp", 14)):
        of_channel = {**text, "channel": channel}
        quote = await quoted(api, org_id, message=of_channel, at=NOON.isoformat())
        assert quote["amount"]["amount_minor"] == pence
        assert f" by {channel} to " in quote["explanation"]
    asked = {"org_id": org_id, "at": NOON.isoformat()}
    free = {**asked, "message": {**text, "channel": "rcs"}}
    problem(await api.operator.post("/v1/quotes", json=free), 422, "no_tariff")
    other = {**asked, "message": {**text, "channel": "other"}}
    problem(await api.operator.post("/v1/quotes", json=other), 422, "invalid")


async def test_a_quote_is_by_the_tariff_of_its_time_and_changes_nothing(api: Api) -> None:
    org_id = await an_organization(api.engine, 1000)
    new = wanted("/v1/tariffs", org_id)
    (await api.operator.post("/v1/tariffs", json=new)).raise_for_status()
    later = await quoted(api, org_id, duration_seconds="60", at="2099-06-01T00:00:00Z")
    assert (later["tariff_id"], later["amount"]["amount_minor"]) == (new["tariff_id"], 52)
    assert (await quoted(api, org_id, duration_seconds="60"))["amount"]["amount_minor"] == 56
    assert await balance(api, org_id) == 1000
    before = {"org_id": org_id, "duration_seconds": "60", "at": "2004-06-01T00:00:00Z"}
    problem(await api.operator.post("/v1/quotes", json=before), 422, "no_tariff")


async def test_an_organization_asks_for_its_own_quotes(api: Api) -> None:
    org_id, another = await an_organization(api.engine), await an_organization(api.engine)
    tenant = await api.tenant(org_id)
    answer = await tenant.post("/v1/quotes", json={"org_id": org_id, "duration_seconds": "1"})
    assert answer.json()["amount"]["amount_minor"] == 2
    others = await tenant.post("/v1/quotes", json={"org_id": another, "duration_seconds": "1"})
    problem(others, 403, "forbidden")
    nobody = {"org_id": unique("org"), "duration_seconds": "1"}
    problem(await api.operator.post("/v1/quotes", json=nobody), 404, "not_found")


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"duration_seconds": "-1"},
        {"duration_seconds": "NaN"},
        {"duration_seconds": "86401"},
        {"message": {"destination": "somebody"}},
        {"message": {"destination": "44", "segments": 0}},
        {"duration_seconds": "1", "message": {"destination": "44"}},
    ],
)
async def test_a_quote_is_of_one_call_or_one_message(api: Api, wrong: dict[str, Any]) -> None:
    org_id = await an_organization(api.engine)
    answer = await api.operator.post("/v1/quotes", json={"org_id": org_id, **wrong})
    problem(answer, 422, "invalid")
