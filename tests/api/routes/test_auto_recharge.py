"""Auto-recharge over HTTP: refused without a card, acted on at once, and seen as it stands."""

from typing import Any

import pytest
from sqlalchemy import select

from store.schema import card_caps
from tests.support.answers import balance, eventually, problem
from tests.support.api_server import Api
from tests.support.factories import an_organization
from tests.support.recharged_payers import Payer, a_payer, card_becomes, payments
from tests.support.stand_ins import StripeStandIn

ON = {"enabled": True}


def path(org_id: str) -> str:
    return f"/v1/organizations/{org_id}/auto-recharge"


async def standing(api: Api, payer: Payer) -> dict[str, Any]:
    answer = await api.operator.get(path(payer.org_id))
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


async def becomes(api: Api, payer: Payer, state: str) -> dict[str, Any]:
    async def is_so() -> bool:
        return bool((await standing(api, payer))["state"] == state)

    await eventually(is_so)
    return await standing(api, payer)


async def test_it_is_off_until_somebody_asks_for_it(api: Api) -> None:
    org_id = await an_organization(api.engine, 100)
    found = (await api.operator.get(path(org_id))).json()
    assert (found["state"], found["settings"]["enabled"]) == ("off", False)
    assert found["settings"]["amount_minor"] == 5000
    assert found["settings"]["threshold_minor"] == 500


async def test_without_a_saved_card_it_is_refused_and_stays_off(working_api: Api) -> None:
    org_id = await an_organization(working_api.engine, 100)
    problem(await working_api.operator.put(path(org_id), json=ON), 409, "no_saved_card")
    assert (await working_api.operator.get(path(org_id))).json()["state"] == "off"


async def test_a_customer_without_a_card_is_refused_too(
    working_api: Api, stripe: StripeStandIn
) -> None:
    payer = await a_payer(working_api.engine, stripe, enabled=False)
    detach = f"/v1/payment_methods/{payer.card_id}/detach"
    (await stripe.http.post(detach)).raise_for_status()
    answer = await working_api.operator.put(path(payer.org_id), json=ON)
    problem(answer, 409, "no_saved_card")


async def test_switching_it_on_recharges_a_wallet_that_is_short_by_now(
    working_api: Api, stripe: StripeStandIn
) -> None:
    api, payer = working_api, await a_payer(working_api.engine, stripe, 100, enabled=False)
    tenant = await api.tenant(payer.org_id)
    answer = await tenant.put(path(payer.org_id), json={**ON, "amount_minor": 2000})
    assert answer.status_code == 200, answer.text

    async def is_credited() -> bool:
        return await balance(api, payer.org_id) == 2100

    await eventually(is_credited)
    found = await becomes(api, payer, "idle")
    assert found["caps_used"] == {
        "today": 1, "today_minor": 2000, "this_month": 1, "this_month_minor": 2000
    }  # fmt: skip
    assert len(await payments(stripe, payer)) == 1


async def test_it_can_be_switched_off_while_stripe_is_away(
    working_api: Api, stripe: StripeStandIn
) -> None:
    payer = await a_payer(working_api.engine, stripe)
    answer = await working_api.operator.put(path(payer.org_id), json={"enabled": False})
    assert answer.json()["state"] == "off"


async def test_a_declined_card_shows_when_it_is_tried_again(
    working_api: Api, stripe: StripeStandIn
) -> None:
    api, payer = working_api, await a_payer(working_api.engine, stripe, 100, enabled=False)
    await card_becomes(stripe, payer.card_id, "pm_card_chargeDeclinedInsufficientFunds")
    await api.operator.put(path(payer.org_id), json=ON)
    found = await becomes(api, payer, "cooling_down")
    assert found["declines_in_a_row"] == 1
    assert found["until"] is not None
    assert "insufficient_funds" in found["why"]


async def test_a_lost_card_shows_why_it_is_suspended_and_since_when(
    working_api: Api, stripe: StripeStandIn
) -> None:
    api, payer = working_api, await a_payer(working_api.engine, stripe, 100, enabled=False)
    await card_becomes(stripe, payer.card_id, "pm_card_chargeDeclinedLostCard")
    await api.operator.put(path(payer.org_id), json=ON)
    found = await becomes(api, payer, "suspended")
    assert found["suspended_for"] == "lost_card"
    assert found["suspended_since"] is not None


async def test_a_tenant_sees_and_changes_its_own_only(api: Api) -> None:
    mine, other = [await an_organization(api.engine) for _ in range(2)]
    tenant = await api.tenant(mine)
    assert (await tenant.get(path(mine))).status_code == 200
    problem(await tenant.get(path(other)), 403, "forbidden")
    problem(await tenant.put(path(other), json={"enabled": False}), 403, "forbidden")
    problem(await api.anonymous.get(path(mine)), 401, "unauthorized")


async def test_an_unknown_organization_is_not_found(api: Api) -> None:
    problem(await api.operator.get(path("nobody")), 404, "not_found")
    problem(await api.operator.put(path("nobody"), json=ON), 404, "not_found")


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold_minor": 99},
        {"amount_minor": 999},
        {"refill_to_minor": 999},
        {"threshold_minor": 5000, "refill_to_minor": 4999},
        {"max_per_day": 0},
        {"max_minor_per_month": 999},
        {"enabled": None},
        {"unheard_of": 1},
    ],
)
async def test_settings_that_make_no_sense_are_invalid(api: Api, wrong: dict[str, Any]) -> None:
    org_id = await an_organization(api.engine)
    answer = await api.operator.put(path(org_id), json={**ON, **wrong})
    problem(answer, 422, "invalid")


async def test_a_return_url_that_nobody_allowed_is_refused(api: Api) -> None:
    org_id = await an_organization(api.engine)
    wanted = {**ON, "return_url": "https://elsewhere.example/"}
    answer = await api.operator.put(path(org_id), json=wanted)
    problem(answer, 422, "return_url_not_allowed")


async def test_without_a_worker_it_is_not_switched_on(api: Api) -> None:
    org_id = await an_organization(api.engine)
    problem(await api.operator.put(path(org_id), json=ON), 503, "temporal_unavailable")
    assert (await api.operator.get(path(org_id))).json()["state"] == "off"


async def test_an_operator_raises_and_lowers_the_caps_of_one_card_and_who_did_is_kept(
    api: Api,
) -> None:
    org_id = await an_organization(api.engine)
    caps = f"{path(org_id)}/caps"
    before = (await api.operator.get(path(org_id))).json()["caps"]
    assert before == {"charge_minor": 50_000, "day_minor": 100_000}
    for charge_minor, day_minor in ((80_000, 200_000), (2000, 5000)):
        wanted = {"charge_minor": charge_minor, "day_minor": day_minor}
        answer = await api.operator.put(caps, json={**wanted, "note": "Ticket 4711"})
        assert answer.json()["caps"] == wanted, answer.text
    assert (await api.operator.delete(caps)).json()["caps"] == before
    async with api.engine.connect() as connection:
        said = select(card_caps).where(card_caps.c.org_id == org_id).order_by(card_caps.c.cap_id)
        rows = (await connection.execute(said)).all()
    assert [row.charge_minor for row in rows] == [80_000, 2000, None]
    assert "the tests' operator" in rows[0].who_and_why
    assert "Ticket 4711" in rows[0].who_and_why


@pytest.mark.parametrize(
    "wrong",
    [
        {"charge_minor": 1_000_001},
        {"day_minor": 2_500_001},
        {"charge_minor": 999},
        {"charge_minor": 80_000, "day_minor": 79_999},
        {"note": " "},
    ],
)
async def test_caps_are_bounded(api: Api, wrong: dict[str, Any]) -> None:
    org_id = await an_organization(api.engine)
    wanted = {"charge_minor": 80_000, "day_minor": 200_000, "note": "Ticket 4711", **wrong}
    problem(await api.operator.put(f"{path(org_id)}/caps", json=wanted), 422, "invalid")


async def test_only_an_operator_sets_caps(api: Api) -> None:
    org_id = await an_organization(api.engine)
    tenant, wanted = (
        await api.tenant(org_id),
        {"charge_minor": 2000, "day_minor": 2000, "note": "x"},
    )
    problem(await tenant.put(f"{path(org_id)}/caps", json=wanted), 403, "forbidden")
    problem(await tenant.delete(f"{path(org_id)}/caps"), 403, "forbidden")
    problem(await api.operator.put(f"{path('nobody')}/caps", json=wanted), 404, "not_found")
