"""Cards and customers at Stripe against what is kept here of everybody who is recharged."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from activities.reconciliation import stripe_saved_cards
from activities.reconciliation.runs import Closing, ReconciliationActivities, RunOpening
from billing.inbox.webhook_event import Source
from billing.recharges.attempt import AttemptState, KeptCard
from billing.reconciliation.card_comparison import (
    CardAtStripe,
    CustomerState,
    Recharged,
    compare_card,
)
from billing.reconciliation.reconciliation import (
    Finding,
    FindingKind,
    FindingOutcome,
    Reconciliation,
    Report,
    Window,
)
from store.alerts import alerts
from store.payments import customers, saved_cards
from store.reconciliation import findings
from tests.support.factories import an_organization, unique
from tests.support.parked_workflows import until_parked
from tests.support.recharged_payers import (
    Payer,
    a_payer,
    card_becomes,
    configure,
    recharge,
    save_card,
    stripe_fails,
    until_states,
)
from tests.support.reconciled_days import Reconciler
from tests.support.stand_ins import StripeStandIn

_NOBODY = CardAtStripe(CustomerState.UNKNOWN)
RECOVERED, REPORTED = FindingOutcome.RECOVERED, FindingOutcome.REPORTED


@pytest.fixture
def reconciler(worker: Client, engine: AsyncEngine) -> Reconciler:
    return Reconciler(worker, engine, Source.STRIPE)


async def reconcile(
    reconciler: Reconciler, org_id: str | None = None, *, dry_run: bool = False
) -> Report:
    """Reconcile a second of long ago, in which nobody has paid: cards are looked at whenever."""
    since = datetime.fromtimestamp(time.time(), UTC) - timedelta(days=300)
    window = Window(since, since + timedelta(seconds=1))
    return await reconciler.reconcile(window, org_id=org_id, dry_run=dry_run)


async def found(reconciler: Reconciler, org_id: str, *, dry_run: bool = False) -> list[Finding]:
    return await reconciler.findings(await reconcile(reconciler, org_id, dry_run=dry_run))


async def kept(engine: AsyncEngine, payer: Payer) -> KeptCard | None:
    async with engine.connect() as connection:
        return await saved_cards.of(connection, payer.org_id)


async def a_seen_payer(reconciler: Reconciler, stripe: StripeStandIn) -> Payer:
    """A payer whose card is kept here as Stripe has it."""
    payer = await a_payer(reconciler.engine, stripe)
    assert await found(reconciler, payer.org_id) == []
    card = await kept(reconciler.engine, payer)
    assert card is not None
    assert (card.payment_method_id, card.is_default) == (payer.card_id, True)
    return payer


async def detach(stripe: StripeStandIn, payer: Payer) -> None:
    (await stripe.http.post(f"/v1/payment_methods/{payer.card_id}/detach")).raise_for_status()


async def delete_customer(stripe: StripeStandIn, payer: Payer) -> None:
    (await stripe.http.delete(f"/v1/customers/{payer.customer_id}")).raise_for_status()


async def test_a_new_default_is_found_and_kept_and_the_next_run_finds_nothing(
    reconciler: Reconciler, stripe: StripeStandIn
) -> None:
    payer = await a_seen_payer(reconciler, stripe)
    new = await save_card(stripe, payer.customer_id)
    report = await reconcile(reconciler, payer.org_id)
    assert (report.total.drifted, report.total.recovered, report.total.checked) == (1, 1, 0)
    [finding] = await reconciler.findings(report)
    assert (finding.subject, finding.kind, finding.outcome) == (
        f"recharge/{payer.org_id}", FindingKind.DRIFTED, RECOVERED
    )  # fmt: skip
    assert payer.card_id in finding.detail
    assert new in finding.detail
    card = await kept(reconciler.engine, payer)
    assert card is not None
    assert card.payment_method_id == new
    assert await found(reconciler, payer.org_id) == []


async def test_a_recharge_that_waits_for_another_card_hears_of_it(
    reconciler: Reconciler, stripe: StripeStandIn
) -> None:
    payer = await a_payer(reconciler.engine, stripe, 400)
    await card_becomes(stripe, payer.card_id, "pm_card_chargeDeclinedLostCard")
    await until_parked(await recharge(reconciler.temporal, payer), "recharge_suspended")
    await save_card(stripe, payer.customer_id)
    [finding] = await found(reconciler, payer.org_id)
    assert finding.outcome is RECOVERED
    await until_states(reconciler.engine, payer, [AttemptState.DECLINED, AttemptState.SUCCEEDED])


async def test_a_card_that_was_taken_off_is_found_and_waits_for_the_customer(
    reconciler: Reconciler, stripe: StripeStandIn
) -> None:
    payer = await a_seen_payer(reconciler, stripe)
    await detach(stripe, payer)
    [finding] = await found(reconciler, payer.org_id)
    assert finding.outcome is REPORTED
    assert finding.detail == (
        f"Stripe has no card of {payer.customer_id} any more; it was {payer.card_id}"
    )
    card = await kept(reconciler.engine, payer)
    assert card is not None
    assert card.payment_method_id is None
    [again] = await found(reconciler, payer.org_id)
    assert again.detail == f"Stripe has no card of {payer.customer_id}"
    new = await save_card(stripe, payer.customer_id)
    [back] = await found(reconciler, payer.org_id)
    assert (back.outcome, new in back.detail) == (RECOVERED, True)


async def test_a_customer_that_was_deleted_is_found_and_forgotten(
    reconciler: Reconciler, stripe: StripeStandIn
) -> None:
    payer = await a_seen_payer(reconciler, stripe)
    await delete_customer(stripe, payer)
    [finding] = await found(reconciler, payer.org_id)
    assert finding.outcome is REPORTED
    assert f"{payer.customer_id} was deleted at Stripe" in finding.detail
    async with reconciler.engine.connect() as connection:
        assert await customers.customer_of(connection, payer.org_id) is None
        assert await customers.former(connection, payer.org_id) == {payer.customer_id}
    [again] = await found(reconciler, payer.org_id)
    assert again.detail.startswith("no customer of theirs is kept here")


async def test_a_customer_of_whom_stripe_knows_nothing_is_reported_and_kept(
    reconciler: Reconciler, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(reconciler.engine)
    async with reconciler.engine.begin() as connection:
        await customers.remember(connection, org_id, "cus_of_another_account")
    await configure(reconciler.engine, org_id)
    [finding] = await found(reconciler, org_id)
    assert finding.outcome is REPORTED
    assert finding.detail.startswith("Stripe does not know cus_of_another_account")
    async with reconciler.engine.begin() as connection:
        assert await customers.customer_of(connection, org_id) == "cus_of_another_account"
        await customers.forget(connection, org_id, "cus_of_another_account")


async def test_what_stripe_was_not_told_yet_is_told_now(
    reconciler: Reconciler, stripe: StripeStandIn
) -> None:
    payer = await a_seen_payer(reconciler, stripe)
    attach = "/v1/payment_methods/pm_card_visa/attach"
    saved = await stripe.http.post(attach, data={"customer": payer.customer_id})
    async with reconciler.engine.begin() as connection:
        await saved_cards.save(
            connection, payer.org_id, payer.customer_id, saved.json()["id"],
            datetime.fromtimestamp(time.time(), UTC),
        )  # fmt: skip
    [dry] = await found(reconciler, payer.org_id, dry_run=True)
    assert dry.outcome is REPORTED
    path = f"/v1/customers/{payer.customer_id}"
    settings = (await stripe.http.get(path)).json()["invoice_settings"]
    assert settings["default_payment_method"] == payer.card_id
    [finding] = await found(reconciler, payer.org_id)
    assert (finding.outcome, finding.detail) == (RECOVERED, dry.detail)
    settings = (await stripe.http.get(path)).json()["invoice_settings"]
    assert settings["default_payment_method"] == saved.json()["id"]


async def test_a_dry_run_reports_and_mends_nothing(
    reconciler: Reconciler, stripe: StripeStandIn
) -> None:
    payers = [await a_seen_payer(reconciler, stripe) for _ in range(2)]
    replaced, deleted = payers
    await save_card(stripe, replaced.customer_id)
    await delete_customer(stripe, deleted)
    for payer in payers:
        before = await kept(reconciler.engine, payer)
        [finding] = await found(reconciler, payer.org_id, dry_run=True)
        assert finding.outcome is REPORTED
        assert await kept(reconciler.engine, payer) == before
    async with reconciler.engine.connect() as connection:
        assert await customers.customer_of(connection, deleted.org_id) == deleted.customer_id


async def test_who_is_not_recharged_is_not_looked_at(
    reconciler: Reconciler, stripe: StripeStandIn
) -> None:
    payer = await a_payer(reconciler.engine, stripe, enabled=False)
    await detach(stripe, payer)
    assert await found(reconciler, payer.org_id) == []


async def test_a_failure_of_one_customer_stops_no_other_page_by_page(
    reconciler: Reconciler, stripe: StripeStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stripe_saved_cards, "PAGE", 2)
    payers = [await a_seen_payer(reconciler, stripe) for _ in range(5)]
    broken = payers[2]
    for payer in payers:
        await save_card(stripe, payer.customer_id)
    path = f"/v1/customers/{broken.customer_id}"
    await stripe_fails(stripe, "GET", path, kind="status", status=500, times=None)
    report = await reconcile(reconciler)
    await stripe.behave()
    by_org = {one.org_id: one for one in await reconciler.findings(report)}
    outcomes = {payer.org_id: by_org[payer.org_id].outcome for payer in payers}
    assert outcomes.pop(broken.org_id) is REPORTED
    assert set(outcomes.values()) == {RECOVERED}
    assert "could not be compared" in by_org[broken.org_id].detail


async def test_an_outage_is_waited_for_and_is_no_finding(
    reconciler: Reconciler, stripe: StripeStandIn
) -> None:
    payer = await a_seen_payer(reconciler, stripe)
    path = f"/v1/customers/{payer.customer_id}"
    await stripe_fails(stripe, "GET", path, kind="status", status=500)
    assert await found(reconciler, payer.org_id) == []


async def test_a_daily_run_tells_once_of_whom_no_card_can_be_charged_and_again_of_more(
    engine_apart: AsyncEngine,
) -> None:
    closing = ReconciliationActivities(engine_apart)
    org_ids = [await an_organization(engine_apart) for _ in range(3)]

    async def close(*gone: str) -> None:
        now = datetime.fromtimestamp(time.time(), UTC)
        wanted = Reconciliation(Source.STRIPE)
        opening = RunOpening(unique("run"), "reconcile-stripe", wanted, now)
        run = await ActivityEnvironment().run(closing.open_run, opening)
        found = [compare_card(Recharged(one), _NOBODY, now) for one in gone]
        async with engine_apart.begin() as connection:
            await findings.add(connection, run.run_id, [one for one in found if one])
        await ActivityEnvironment().run(closing.close_run, Closing(run.run_id, now))

    async def titles() -> list[str]:
        async with engine_apart.connect() as connection:
            told = await alerts.page(connection, None, 100)
        return [one.alert.title for one in reversed(told) if "card at Stripe" in one.alert.title]

    await close(*org_ids[:1])
    await close(*org_ids[1:2])
    await close(*org_ids)
    await close()
    assert await titles() == [
        "1 organisations are recharged, and have no card at Stripe",
        "3 organisations are recharged, and have no card at Stripe",
        "Everybody who is recharged has a card at Stripe again",
    ]
