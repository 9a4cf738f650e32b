"""One bad call or payment in a provider's list keeps no other from being compared."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from stripe import HTTPClient, StripeClient
from temporalio import activity
from temporalio.testing import ActivityEnvironment

from activities.reconciliation.isolation import add_findings
from activities.reconciliation.runs import Comparing
from activities.reconciliation.stripe import CREDITS, OPEN_DISPUTES, StripeReconciliation
from activities.reconciliation.vapi import VapiReconciliation
from activities.reconciliation.vapi_lists import EARLIER
from billing.calls.call import EndedCall
from billing.inbox.webhook_event import Source
from billing.ledger.entry import payment_credit_key
from billing.platform_rules import PlatformRules
from billing.reconciliation.reconciliation import (
    Finding,
    FindingKind,
    FindingOutcome,
    Progress,
    Run,
    Window,
)
from store.calls import calls
from store.ledger import ledger
from store.payments import disputes
from store.reconciliation import findings, runs
from tests.support.factories import (
    NOON,
    an_assistant,
    an_organization,
    credit_of,
    ended_call,
    unique,
)
from tests.support.reconciliation_runs import a_finding, a_run
from tests.support.stand_ins import StripeStandIn
from wiring import Clients


async def found(engine: AsyncEngine, run: Run) -> dict[str, Finding]:
    async with engine.connect() as connection:
        listed = await findings.page(connection, run.run_id, None, 1000)
    return {one.subject: one for one in listed}


# ---- Vapi's list


def listed(call: EndedCall, **other: Any) -> dict[str, Any]:
    assert call.started_at
    assert call.ended_at
    return {
        "id": call.call_id,
        "assistantId": call.assistant_id,
        "status": "ended",
        "createdAt": call.started_at.isoformat(),
        "startedAt": call.started_at.isoformat(),
        "endedAt": call.ended_at.isoformat(),
        **other,
    }


async def compare(
    engine: AsyncEngine, *told: object, org_id: str | None = None
) -> tuple[Run, Progress]:
    """Compare a page of which Vapi tells this."""
    run = a_run(org_id=org_id)
    async with engine.begin() as connection:
        await runs.open_run(connection, run)

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=told)

    vapi = httpx.AsyncClient(base_url="http://vapi", transport=httpx.MockTransport(answer))
    async with vapi:
        comparing = VapiReconciliation(engine, vapi)
        at = Comparing(run, Progress())
        return run, await ActivityEnvironment().run(comparing.compare_calls, at)


@pytest.mark.parametrize(
    "bad",
    [
        {"createdAt": "soon"},
        {"createdAt": None},
        {"createdAt": 7},
        {"endedReason": {"a": 1}, "createdAt": []},
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
async def test_a_call_that_cannot_be_read_is_looked_at_by_itself(
    engine_apart: AsyncEngine, bad: dict[str, Any], place: int
) -> None:
    assistant = await an_assistant(engine_apart, await an_organization(engine_apart))
    good = [ended_call(assistant) for _ in range(2)]
    page = [listed(one) for one in good]
    page.insert(place, listed(ended_call(assistant), id="bad", **bad))
    run, progress = await compare(engine_apart, *page)
    assert progress == Progress(pages=1, below=EARLIER)
    by_subject = await found(engine_apart, run)
    assert by_subject.keys() == {"bad", *(one.call_id for one in good)}
    assert by_subject["bad"].call == EndedCall("bad")
    assert by_subject["bad"].outcome is FindingOutcome.OPEN
    assert {by_subject[one.call_id].kind for one in good} == {FindingKind.MISSING}


@pytest.mark.parametrize(
    "bad",
    [
        "no call",
        None,
        [],
        {"createdAt": NOON.isoformat()},
        {"createdAt": NOON.isoformat(), "id": "longer than any name of a process" * 40},
    ],
)
async def test_what_is_no_call_is_reported_and_holds_up_no_call(
    engine_apart: AsyncEngine, bad: object
) -> None:
    good = ended_call(unique("assistant"))
    run, _ = await compare(engine_apart, bad, listed(good))
    by_subject = await found(engine_apart, run)
    assert by_subject.keys() == {"unreadable:page 1, no. 1", good.call_id}
    assert by_subject["unreadable:page 1, no. 1"].outcome is FindingOutcome.REPORTED


async def test_each_of_several_that_are_no_calls_is_reported(engine_apart: AsyncEngine) -> None:
    good = ended_call(unique("assistant"))
    run, _ = await compare(engine_apart, "no call", listed(good), [], {"id": "bad"})
    assert (await found(engine_apart, run)).keys() == {
        "unreadable:page 1, no. 1", "unreadable:page 1, no. 2", "bad", good.call_id,
    }  # fmt: skip


async def test_a_page_of_which_nothing_can_be_read_is_a_fault(engine_apart: AsyncEngine) -> None:
    with pytest.raises(ValueError, match="no call"):
        await compare(engine_apart, "no", "calls")


@pytest.mark.parametrize("count", [0, 3])
async def test_a_call_that_cannot_be_compared_is_looked_at_by_itself(
    engine_apart: AsyncEngine, count: int
) -> None:
    """Somebody has edited its row, so that nobody can read it."""
    assistant = await an_assistant(engine_apart, await an_organization(engine_apart))
    sick, *good = [ended_call(assistant) for _ in range(count + 1)]
    async with engine_apart.begin() as connection:
        await calls.charge(connection, [sick])
        await connection.execute(text("UPDATE calls SET facts = '[]'"))
    run, _ = await compare(engine_apart, *map(listed, (sick, *good)))
    by_subject = await found(engine_apart, run)
    assert by_subject.keys() == {one.call_id for one in (sick, *good)}
    assert "cannot be compared" in by_subject[sick.call_id].detail


async def test_a_run_of_one_organisation_shows_nothing_of_which_nobody_knows_whose_it_is(
    engine_apart: AsyncEngine,
) -> None:
    """Vapi lists everybody's calls, and an organisation may read what its own runs have found."""
    org_id = await an_organization(engine_apart)
    own = ended_call(await an_assistant(engine_apart, org_id))
    other = ended_call(await an_assistant(engine_apart, await an_organization(engine_apart)))
    async with engine_apart.begin() as connection:
        await calls.charge(connection, [other])
        await connection.execute(text("UPDATE calls SET facts = '[]'"))
    bad = listed(ended_call(), createdAt="soon")
    run, _ = await compare(engine_apart, None, bad, listed(other), listed(own), org_id=org_id)
    assert (await found(engine_apart, run)).keys() == {own.call_id}


# ---- Stripe's lists


def lately() -> Window:
    now = datetime.fromtimestamp(time.time(), UTC)
    return Window(now - timedelta(seconds=2), now + timedelta(minutes=1))


async def compare_payments(
    engine: AsyncEngine,
    client: StripeClient,
    window: Window,
    org_id: str | None = None,
    place: str | None = None,
) -> Run:
    """Compare a page, by default the first."""
    run = a_run(source=Source.STRIPE, window=window, org_id=org_id)
    async with engine.begin() as connection:
        await runs.open_run(connection, run)
    comparing = StripeReconciliation(engine, client, PlatformRules())
    at = Comparing(run, Progress(below=place))
    await ActivityEnvironment().run(comparing.compare_payments, at)
    return run


async def test_a_finding_that_cannot_be_stored_is_kept_without_its_figures(
    engine_apart: AsyncEngine,
) -> None:
    run = a_run()
    several = [a_finding(pence=pence) for pence in (1, 2**63, 2)]
    async with engine_apart.begin() as connection:
        await runs.open_run(connection, run)

    @activity.defn
    async def add() -> None:
        async with engine_apart.begin() as connection:
            await add_findings(connection, run, several)

    await ActivityEnvironment().run(add)
    by_subject = await found(engine_apart, run)
    amounts = [by_subject[one.subject].amount for one in several]
    assert amounts == [several[0].amount, None, several[2].amount]


def a_listed_refund(payment_id: str, **other: object) -> dict[str, object]:
    refund = {"id": unique("re"), "object": "refund", "status": "succeeded", "amount": 1000}
    return {**refund, "created": 1_790_000_000, "payment_intent": payment_id, **other}


class Told(HTTPClient):
    """Stripe's answers, whatever is asked."""

    name = "told"

    def __init__(self, *told: dict[str, object]) -> None:
        super().__init__()
        self._answer = orjson.dumps({"object": "list", "data": told, "has_more": False})

    async def request_async(self, *_: object, **__: object) -> tuple[bytes, int, dict[str, str]]:
        return self._answer, 200, {}


async def compare_refunds(engine: AsyncEngine, *told: dict[str, object]) -> Run:
    """Compare a page of refunds of which Stripe tells this."""
    client = StripeClient("sk_test_1", http_client=Told(*told))
    return await compare_payments(engine, client, lately(), place="refunds")


@pytest.mark.parametrize("lacks", ["id", "status", "created", "payment_intent"])
@pytest.mark.parametrize("neighbours", [0, 1])
async def test_a_bad_object_of_stripe_s_is_reported_alone_or_beside_good_ones(
    engine_apart: AsyncEngine, lacks: str, neighbours: int
) -> None:
    bad = a_listed_refund(unique("pi"))
    del bad[lacks]
    good = [a_listed_refund(unique("pi")) for _ in range(neighbours)]
    run = await compare_refunds(engine_apart, bad, *good)
    [shown] = (await found(engine_apart, run)).values()
    assert (shown.kind, shown.amount) == (FindingKind.UNBILLED, None)


async def test_each_of_several_bad_objects_of_stripe_s_is_reported(
    engine_apart: AsyncEngine,
) -> None:
    bad: dict[str, object] = {"object": "refund", "payment_intent": None}
    known = {**bad, "id": "re_1"}
    run = await compare_refunds(engine_apart, bad, a_listed_refund(unique("pi")), bad, known)
    assert (await found(engine_apart, run)).keys() == {
        "unreadable:refunds, no. 1", "unreadable:refunds, no. 2", "unreadable:refunds:re_1",
    }  # fmt: skip


async def paid(stripe: StripeStandIn, org_id: str, *amounts: int) -> Sequence[str]:
    return [await stripe.payment(org_id, amount) for amount in amounts]


async def test_an_amount_that_nobody_can_pay_holds_up_no_other_payment(
    engine_apart: AsyncEngine, stripe: StripeStandIn, clients: Clients
) -> None:
    window, org_id = lately(), await an_organization(engine_apart)
    first, poison, last = await paid(stripe, org_id, 1000, 2**63, 2000)
    by_subject = await found(
        engine_apart, await compare_payments(engine_apart, clients.stripe, window)
    )
    assert {first, poison, last} <= by_subject.keys()
    assert (by_subject[poison].amount, by_subject[poison].outcome) == (None, FindingOutcome.OPEN)
    assert by_subject[first].amount is not None
    assert by_subject[last].amount is not None


async def test_a_payment_that_stripe_cannot_show_is_looked_at_by_itself(
    engine_apart: AsyncEngine, stripe: StripeStandIn, clients: Clients
) -> None:
    window, org_id = lately(), await an_organization(engine_apart)
    good, sick = await paid(stripe, org_id, 1000, 2000)
    await stripe.misbehave(sick, kind="status", status=404, times=5)
    by_subject = await found(
        engine_apart, await compare_payments(engine_apart, clients.stripe, window)
    )
    await stripe.behave()
    assert {good, sick} <= by_subject.keys()
    assert "cannot be compared" in by_subject[sick].detail


async def test_a_run_of_one_organisation_shows_its_own_payments_alone(
    engine_apart: AsyncEngine, stripe: StripeStandIn, clients: Clients
) -> None:
    window, org_id = lately(), await an_organization(engine_apart)
    [own] = await paid(stripe, org_id, 1000)
    nobody_s, good = await stripe.payment(None, 1000), await stripe.payment(org_id, 2000)
    for sick in (own, nobody_s):
        await stripe.misbehave(sick, kind="status", status=404, times=5)
    run = await compare_payments(engine_apart, clients.stripe, window, org_id)
    await stripe.behave()
    assert (await found(engine_apart, run)).keys() == {own, good}


@pytest.mark.parametrize("place", [CREDITS, OPEN_DISPUTES])
async def test_a_run_of_one_organisation_shows_what_of_its_own_stripe_cannot_show(
    engine_apart: AsyncEngine, stripe: StripeStandIn, clients: Clients, place: str
) -> None:
    org_id = await an_organization(engine_apart)
    sick, good = await paid(stripe, org_id, 1000, 1000)
    async with engine_apart.begin() as connection:
        for one in (sick, good):
            await ledger.post(connection, [credit_of(org_id, 1000, payment_credit_key(one))])
            await disputes.note(connection, org_id, one, unique("du"), is_open=True)
    await stripe.misbehave(sick, kind="status", status=400, times=5)
    noon = Window(NOON, NOON)
    run = await compare_payments(engine_apart, clients.stripe, noon, org_id, place)
    await stripe.behave()
    subjects = (await found(engine_apart, run)).keys()
    assert {one for one in subjects if sick in one} != set()
