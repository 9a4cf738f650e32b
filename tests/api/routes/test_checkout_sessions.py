"""Top-ups at Stripe's checkout page: one session however often it is asked for, one credit."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from processes import request
from settings import Settings
from tests.support.answers import balance, eventually, problem
from tests.support.api_process import NOBODY_LISTENS
from tests.support.api_server import Api, serving
from tests.support.checkout_clicks import Session, bringing_events, click, opened, path_of
from tests.support.factories import an_organization, keys_of, unique
from tests.support.stand_ins import StripeStandIn
from wiring import connect_temporal

SESSIONS = "/v1/checkout/sessions"


@pytest.fixture
async def stripe(stripe: StripeStandIn) -> AsyncIterator[StripeStandIn]:
    yield stripe
    await stripe.behave()


@pytest.fixture(scope="module")
async def another_api(engine: AsyncEngine, worker: Client) -> AsyncIterator[Api]:
    async with serving(engine, worker) as running:
        yield running


async def one_at_stripe(stripe: StripeStandIn, org_id: str) -> Session:
    [session] = await stripe.sessions(org_id)
    return session


async def becomes(api: Api, org_id: str, balance_minor: int) -> None:
    async def is_so() -> bool:
        return await balance(api, org_id) == balance_minor

    await eventually(is_so)


async def test_a_session_is_opened_with_all_that_names_the_wallet(
    working_api: Api, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(working_api.engine)
    session = await opened(await working_api.tenant(org_id), org_id, 5000, currency="gbp")
    at_stripe = await one_at_stripe(stripe, org_id)
    assert session == {
        "session_id": at_stripe["id"],
        "url": at_stripe["url"],
        "expires_at": session["expires_at"],
        "amount": {"amount_minor": 5000, "currency": "gbp"},
        "status": "open",
        "payment_id": None,
    }
    expires_at = datetime.fromisoformat(session["expires_at"])
    assert expires_at.timestamp() == at_stripe["expires_at"]
    ours = {"type": "wallet_topup", "org_id": org_id, "amount_minor": "5000"}
    assert at_stripe["metadata"] == ours | {"checkout": f"checkout/{org_id}/5000"}
    assert (at_stripe["success_url"], at_stripe["cancel_url"]) == (
        "https://app.example/wallet?paid={CHECKOUT_SESSION_ID}",
        "https://app.example/wallet",
    )
    intent = await stripe.http.get(f"/v1/payment_intents/{await stripe.pay(at_stripe['id'])}")
    assert intent.json()["metadata"] == ours
    assert intent.json()["setup_future_usage"] is None
    assert intent.json()["customer"] == at_stripe["customer"]


async def test_of_the_customer_stripe_is_told_no_more_than_name_and_id(
    working_api: Api, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(working_api.engine)
    await opened(working_api.operator, org_id)
    [customer_id] = await stripe.customers(org_id)
    customer = (await stripe.http.get(f"/v1/customers/{customer_id}")).json()
    assert (customer["name"], customer["metadata"]) == (f"Tenant {org_id}", {"org_id": org_id})
    told = ("email", "phone", "address", "description", "shipping")
    assert {customer[name] for name in told} == {None}


async def test_twenty_clicks_at_once_in_two_processes_are_one_session(
    working_api: Api, another_api: Api, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(working_api.engine)
    await stripe.posts_misbehave(SESSIONS, kind="delay", seconds=1)
    tabs = [working_api.operator, another_api.operator] * 10
    sessions = await asyncio.gather(*(opened(tab, org_id) for tab in tabs))
    at_stripe = await one_at_stripe(stripe, org_id)
    assert {(one["session_id"], one["url"]) for one in sessions} == {
        (at_stripe["id"], at_stripe["url"])
    }
    again = await asyncio.gather(*(opened(tab, org_id) for tab in tabs))
    assert {one["session_id"] for one in again} == {at_stripe["id"]}


async def test_the_pages_to_return_to_do_not_make_it_another_session(
    working_api: Api, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(working_api.engine)
    tenant = await working_api.tenant(org_id)
    first = await opened(tenant, org_id)
    other = await opened(tenant, org_id, success_url="http://localhost:3000/?click=2")
    assert other["session_id"] == first["session_id"]
    assert "app.example" in (await one_at_stripe(stripe, org_id))["success_url"]


async def test_another_amount_or_a_card_to_be_saved_is_another_session(
    working_api: Api, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(working_api.engine)
    tenant = await working_api.tenant(org_id)
    wanted = [(2500, False), (2501, False), (2500, True)]
    first, again = [
        await asyncio.gather(*(opened(tenant, org_id, one, save_card=is_saved)
                               for one, is_saved in wanted))
        for _ in "ab"
    ]  # fmt: skip
    assert [one["session_id"] for one in first] == [one["session_id"] for one in again]
    assert len(await stripe.sessions(org_id)) == 3
    assert len(await stripe.customers(org_id)) == 1
    saved = await stripe.pay(first[2]["session_id"])
    intent = (await stripe.http.get(f"/v1/payment_intents/{saved}")).json()
    assert intent["setup_future_usage"] == "off_session"
    cards = await stripe.http.get(f"/v1/customers/{intent['customer']}/payment_methods")
    assert [one["id"] for one in cards.json()["data"]] == [intent["payment_method"]]


@pytest.mark.parametrize("is_told", [True, False])
async def test_a_paid_session_is_credited_once_and_the_next_click_gets_a_new_one(
    working_api: Api, stripe: StripeStandIn, *, is_told: bool
) -> None:
    org_id = await an_organization(working_api.engine)
    tenant = await working_api.tenant(org_id)
    first = await opened(tenant, org_id)
    if is_told:
        async with bringing_events(working_api, stripe, twice=True):
            payment = await stripe.pay(first["session_id"])
    else:
        payment = await stripe.pay(first["session_id"])
    clicks = [await opened(tenant, org_id) for _ in range(3)]
    [new_id] = {one["session_id"] for one in clicks}
    assert new_id != first["session_id"]
    assert clicks[0]["status"] == "open"
    await becomes(working_api, org_id, 2500)
    assert await keys_of(working_api.engine, org_id) == [f"payment:{payment}:credit"]
    assert len(await stripe.sessions(org_id)) == 2


@pytest.mark.parametrize("is_told", [True, False])
async def test_an_expired_session_is_replaced_by_a_new_one(
    working_api: Api, stripe: StripeStandIn, *, is_told: bool
) -> None:
    org_id = await an_organization(working_api.engine)
    tenant = await working_api.tenant(org_id)
    first = await opened(tenant, org_id)
    if is_told:
        async with bringing_events(working_api, stripe):
            await stripe.expire(first["session_id"])
    else:
        await stripe.expire(first["session_id"])
    second = await opened(tenant, org_id)
    assert second["session_id"] != first["session_id"]
    assert [one["status"] for one in await stripe.sessions(org_id)] == ["open", "expired"]


async def test_clicks_at_the_moment_in_which_a_session_ends_all_get_one(
    working_api: Api, another_api: Api, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(working_api.engine)
    tabs = [working_api.operator, another_api.operator] * 6
    for _ in range(3):
        first = await opened(tabs[0], org_id)
        async with bringing_events(working_api, stripe):
            expiring = asyncio.create_task(stripe.expire(first["session_id"]))
            sessions = await asyncio.gather(*(opened(tab, org_id) for tab in tabs))
            await expiring
        at_stripe = await stripe.sessions(org_id)
        assert [one["status"] for one in at_stripe].count("open") <= 1
        known = {one["session_id"] for one in sessions}
        assert known <= {one["id"] for one in at_stripe[:2]}


async def test_a_session_that_is_paid_and_one_that_expires_end_their_processes(
    working_api: Api, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(working_api.engine)
    paid, expired = [await opened(working_api.operator, org_id, one) for one in (2500, 2600)]
    async with bringing_events(working_api, stripe):
        payment = await stripe.pay(paid["session_id"])
        await stripe.expire(expired["session_id"])
    for amount, expected in ((2500, ("paid", payment)), (2600, ("expired", None))):
        handle = working_api.temporal.get_workflow_handle(f"checkout/{org_id}/{amount}")
        result = await asyncio.wait_for(handle.result(), 30)
        assert (result["status"], result["payment_id"]) == expected
    await becomes(working_api, org_id, 2500)


@pytest.mark.parametrize("succeed", [True, False])
@pytest.mark.parametrize("is_told", [True, False])
async def test_a_bank_that_takes_days_is_waited_for_and_nothing_is_credited_before_it_pays(
    working_api: Api, stripe: StripeStandIn, *, succeed: bool, is_told: bool
) -> None:
    org_id = await an_organization(working_api.engine)
    tenant = await working_api.tenant(org_id)
    first = await opened(tenant, org_id)
    async with bringing_events(working_api, stripe):
        payment = await stripe.pay(first["session_id"], "pm_bacsDebit_success")
    joined = await opened(tenant, org_id)
    assert (joined["session_id"], joined["status"], joined["url"], joined["payment_id"]) == (
        first["session_id"], "processing", None, payment,
    )  # fmt: skip
    assert await balance(working_api, org_id) == 0
    if is_told:
        async with bringing_events(working_api, stripe, twice=True):
            await stripe.clear(first["session_id"], succeed=succeed)
    else:
        await stripe.clear(first["session_id"], succeed=succeed)

    async def another_is_open() -> bool:
        """A look that had begun before the bank's word came says for once what was before."""
        return bool((await opened(tenant, org_id))["session_id"] != first["session_id"])

    await eventually(another_is_open)
    await becomes(working_api, org_id, 2500 if succeed else 0)
    credit = [f"payment:{payment}:credit"] if succeed else []
    assert await keys_of(working_api.engine, org_id) == credit


async def test_while_stripe_is_slow_the_caller_is_told_to_come_back_and_then_joins(
    working_api: Api, stripe: StripeStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request, "ANSWER_SECONDS", 0.5)
    org_id = await an_organization(working_api.engine)
    tenant = await working_api.tenant(org_id)
    await stripe.posts_misbehave(SESSIONS, kind="delay", seconds=600)
    answer = await click(tenant, org_id)
    told = problem(answer, 503, "checkout_pending")
    assert "the same request joins what is under way" in told["detail"]
    assert int(answer.headers["retry-after"]) > 0
    monkeypatch.undo()
    await stripe.behave()
    session = await opened(tenant, org_id)
    assert session["session_id"] == (await one_at_stripe(stripe, org_id))["id"]


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status_after", "status": 500},
        {"kind": "status_after", "status": 500, "stored": True},
        {"kind": "status_after", "status": 503, "stored": True, "times": 2},
        {"kind": "reset_after"},
        {"kind": "status", "status": 502},
        {"kind": "status", "status": 429, "retry_after": 1},
        {"kind": "reset"},
    ],
    ids=lambda fault: "-".join(str(value) for value in fault.values()),
)
@pytest.mark.parametrize("path", ["/v1/customers", SESSIONS])
async def test_whatever_happens_to_an_answer_there_is_one_customer_and_one_session(
    working_api: Api, stripe: StripeStandIn, path: str, fault: dict[str, object]
) -> None:
    org_id = await an_organization(working_api.engine)
    await stripe.posts_misbehave(path, **fault)
    session = await opened(working_api.operator, org_id)
    at_stripe = await one_at_stripe(stripe, org_id)
    assert (session["session_id"], session["url"]) == (at_stripe["id"], at_stripe["url"])
    assert await stripe.customers(org_id) == [at_stripe["customer"]]


async def test_while_stripe_is_away_a_click_is_told_so_and_one_after_it_succeeds_at_once(
    working_api: Api, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(working_api.engine)
    await stripe.posts_misbehave(SESSIONS, kind="status", status=500, times=3)
    problem(await click(working_api.operator, org_id), 503, "checkout_pending")
    session = await opened(working_api.operator, org_id)
    assert session["session_id"] == (await one_at_stripe(stripe, org_id))["id"]


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"amount_minor": 2499}, "invalid"),
        ({"amount_minor": 500_001}, "invalid"),
        ({"amount_minor": -2500}, "invalid"),
        ({"amount_minor": 2500.5}, "invalid"),
        ({"amount_minor": None}, "invalid"),
        ({"currency": "usd"}, "currency_mismatch"),
        ({"currency": "eur"}, "invalid"),
        ({"success_url": "https://evil.example/"}, "return_url_not_allowed"),
        ({"cancel_url": "https://evil.example/"}, "return_url_not_allowed"),
        ({"cancel_url": "https://app.example@evil.example/"}, "return_url_not_allowed"),
        ({"cancel_url": "//app.example/"}, "return_url_not_allowed"),
        ({"cancel_url": ""}, "return_url_not_allowed"),
        ({"cancel_url": f"https://app.example/{'a' * 2000}"}, "invalid"),
        ({"customer": "cus_1"}, "invalid"),
    ],
)
async def test_what_may_not_be_asked_for_is_refused_and_nothing_is_opened(
    working_api: Api, stripe: StripeStandIn, more: dict[str, object], code: str
) -> None:
    org_id = await an_organization(working_api.engine)
    problem(await click(working_api.operator, org_id, **more), 422, code)  # type: ignore[arg-type]
    assert (await stripe.sessions(org_id), await stripe.customers(org_id)) == ([], [])


@pytest.mark.parametrize("amount_minor", [2500, 500_000])
async def test_the_smallest_and_the_largest_top_up_are_opened(
    working_api: Api, amount_minor: int
) -> None:
    org_id = await an_organization(working_api.engine)
    session = await opened(working_api.operator, org_id, amount_minor)
    assert session["amount"] == {"amount_minor": amount_minor, "currency": "gbp"}


async def test_an_organisation_opens_sessions_for_itself_only(
    working_api: Api, stripe: StripeStandIn
) -> None:
    mine, others = [await an_organization(working_api.engine) for _ in "ab"]
    tenant = await working_api.tenant(mine)
    problem(await click(tenant, others), 403, "forbidden")
    problem(await click(working_api.anonymous, mine), 401, "unauthorized")
    problem(await click(working_api.operator, unique("org")), 404, "not_found")
    theirs = await opened(await working_api.tenant(others), others)
    assert (await opened(tenant, mine))["session_id"] != theirs["session_id"]
    assert await stripe.customers(mine) != await stripe.customers(others)


async def test_with_temporal_away_nothing_is_opened_and_that_is_said(
    engine_apart: AsyncEngine, settings: Settings
) -> None:
    gone = settings.model_copy(update={"temporal_address": NOBODY_LISTENS})
    org_id = await an_organization(engine_apart)
    async with serving(engine_apart, await connect_temporal(gone, lazy=True)) as api:
        answer = await click(api.operator, org_id)
    told = problem(answer, 503, "temporal_unavailable")
    assert "no session was opened" in told["detail"]


async def test_without_a_worker_nothing_is_started_and_that_is_said(api: Api) -> None:
    org_id = await an_organization(api.engine)
    answer = await api.operator.post(
        path_of(org_id),
        json={"amount_minor": 2500, "success_url": "https://app.example/",
              "cancel_url": "https://app.example/"},
    )  # fmt: skip
    assert "no worker is running" in problem(answer, 503, "temporal_unavailable")["detail"]
