"""Payments, refunds and disputes at Stripe against the ledger, and the ledger against Stripe."""

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

import activities.stripe_lists
import billing.reconciliation
from billing.ledger import payment_credit_key
from billing.money import Currency, Money
from billing.payment import payment_workflow_id
from billing.reconciliation import FindingKind, FindingOutcome, Report, Window
from billing.webhook import PaymentHint, Source
from store import ledger
from tests.factories import an_organization, balance_of, credit_of, keys_of, unique
from tests.stand_ins import StripeStandIn
from tests.workflows.parked import discard, ended, until_parked
from tests.workflows.reconciled import Reconciler
from tests.workflows.webhooks import accept, event_of
from workflows import settle_payment
from workflows.settle_payment import SettlePayment


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was paid this very second is looked at: Stripe's clock cannot be set back."""
    monkeypatch.setattr(billing.reconciliation, "GRACE", timedelta(seconds=-2))


@pytest.fixture(scope="module")
def reconciler(worker: Client, engine: AsyncEngine) -> Reconciler:
    return Reconciler(worker, engine, Source.STRIPE)


def lately() -> Window:
    now = datetime.fromtimestamp(time.time(), UTC)
    return Window(now - timedelta(minutes=30), now + timedelta(seconds=1))


async def reconcile(reconciler: Reconciler, org_id: str, *, dry_run: bool = False) -> Report:
    return await reconciler.reconcile(lately(), org_id=org_id, dry_run=dry_run)


async def settle(worker: Client, payment_id: str) -> None:
    """Settle a payment as its webhook would have had it settled."""
    hint = PaymentHint(payment_id, unique("evt"))
    options = settle_payment.start_options(payment_id)
    await ended(await worker.start_workflow(SettlePayment.run, hint, **options))


async def test_a_payment_whose_events_were_lost_is_credited(
    reconciler: Reconciler, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 5000)
    report = await reconcile(reconciler, org_id)
    assert (report.total.checked, report.total.missing, report.total.recovered) == (1, 1, 1)
    assert report.total.reliability_percent == Decimal(0)
    assert report.total.recovered_amounts == (Money(5000, Currency.GBP),)
    assert await keys_of(engine, org_id) == [payment_credit_key(payment_id)]
    again = await reconcile(reconciler, org_id)
    assert (again.total.checked, again.total.missing) == (1, 0)


async def test_a_payment_that_only_its_checkout_session_names_is_found(
    reconciler: Reconciler, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    await stripe.checkout(org_id, 2500)
    report = await reconcile(reconciler, org_id)
    assert (report.total.checked, report.total.missing, report.total.recovered) == (1, 1, 1)
    assert await balance_of(engine, org_id) == 2500


async def test_a_payment_that_is_known_but_was_never_credited_is_found(
    reconciler: Reconciler, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 5000)
    await accept(engine, event_of(PaymentHint(payment_id, unique("evt")), due_in_seconds=3600.0))
    report = await reconcile(reconciler, org_id)
    assert (report.total.missing, report.total.unbilled, report.total.recovered) == (0, 1, 1)
    assert report.total.reliability_percent == Decimal(100)


async def test_a_lost_refund_is_taken_from_the_wallet(
    reconciler: Reconciler, worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 5000)
    await settle(worker, payment_id)
    await stripe.refund(payment_id, amount=1200)
    report = await reconcile(reconciler, org_id)
    assert (report.total.checked, report.total.missing, report.total.recovered) == (2, 1, 1)
    assert report.total.recovered_amounts == (Money(-1200, Currency.GBP),)
    assert await balance_of(engine, org_id) == 3800
    assert (await reconcile(reconciler, org_id)).total.missing == 0


async def test_a_refund_that_failed_unheard_is_given_back(
    reconciler: Reconciler, worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 5000)
    refund_id = await stripe.refund(payment_id, amount=1200, status="pending")
    await settle(worker, payment_id)
    assert await balance_of(engine, org_id) == 3800
    await stripe.refund_becomes(refund_id, "failed")
    assert (await reconcile(reconciler, org_id)).total.recovered == 1
    assert await balance_of(engine, org_id) == 5000


async def test_a_lost_dispute_and_its_end_are_followed(
    reconciler: Reconciler, worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 5000)
    await settle(worker, payment_id)
    dispute_id = await stripe.dispute(payment_id)
    assert (await reconcile(reconciler, org_id)).total.recovered == 1
    assert await balance_of(engine, org_id) == 0
    await stripe.dispute_becomes(dispute_id, "won")
    assert (await reconcile(reconciler, org_id)).total.recovered == 1
    assert await balance_of(engine, org_id) == 5000


async def test_a_payment_that_does_not_fit_parks_where_a_person_sees_it(
    reconciler: Reconciler, worker: Client, stripe: StripeStandIn
) -> None:
    stranger = unique("org")
    payment_id = await stripe.payment(stranger, 5000)
    report = await reconciler.reconcile(lately())
    [finding] = [one for one in await reconciler.findings(report) if one.subject == payment_id]
    assert (finding.kind, finding.outcome) == (
        FindingKind.MISSING,
        FindingOutcome.QUARANTINED,
    )
    assert finding.detail == "unknown_organization"
    handle = worker.get_workflow_handle(payment_workflow_id(payment_id))
    await until_parked(handle, "unknown_organization")


async def test_a_payment_that_a_person_gave_up_is_not_brought_up_again(
    reconciler: Reconciler, worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 5000, amount_minor="4000")
    assert (await reconcile(reconciler, org_id)).total.quarantined == 1
    handle = worker.get_workflow_handle(payment_workflow_id(payment_id))
    await until_parked(handle, "amount_mismatch")
    assert await discard(handle, "Ann: refunded in Stripe") == "discarded"
    assert (await reconcile(reconciler, org_id)).total.missing == 0


async def test_a_payment_of_another_business_is_none_of_ours(
    reconciler: Reconciler, stripe: StripeStandIn
) -> None:
    payment_id = await stripe.payment(None, 5000, type="subscription")
    await stripe.refund(payment_id, amount=1000)
    report = await reconciler.reconcile(lately())
    assert payment_id not in {one.subject for one in await reconciler.findings(report)}


async def test_a_declined_payment_is_owed_nothing(
    reconciler: Reconciler, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    await stripe.payment(org_id, 5000, card="pm_card_visa_chargeDeclined")
    assert (await reconcile(reconciler, org_id)).total.checked == 0


async def test_a_credit_without_a_payment_is_reported_and_left_alone(
    reconciler: Reconciler, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    invented = credit_of(org_id, 700, payment_credit_key(unique("pi")))
    declined = await stripe.payment(org_id, 900, card="pm_card_visa_chargeDeclined")
    unpaid = credit_of(org_id, 900, payment_credit_key(declined))
    async with engine.begin() as connection:
        await ledger.post(connection, [invented, unpaid])
    window = Window(invented.occurred_at - timedelta(hours=1), lately().until)
    report = await reconciler.reconcile(window, org_id=org_id)
    assert (report.total.orphaned, report.total.recovered) == (2, 0)
    details = sorted(one.detail for one in await reconciler.findings(report))
    assert details == [
        "a test: 7.00 GBP were credited, and the payment is not known to Stripe",
        "a test: 9.00 GBP were credited, and the payment is requires_payment_method",
    ]
    assert await balance_of(engine, org_id) == 1600


async def test_a_dry_run_reports_and_credits_nothing(
    reconciler: Reconciler, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    await stripe.payment(org_id, 5000)
    report = await reconcile(reconciler, org_id, dry_run=True)
    assert (report.total.missing, report.total.recovered) == (1, 0)
    assert await keys_of(engine, org_id) == []


async def test_long_lists_are_walked_page_by_page(
    reconciler: Reconciler,
    engine: AsyncEngine,
    stripe: StripeStandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(activities.stripe_lists, "PAGE", 2)
    org_id = await an_organization(engine)
    for _ in range(5):
        await stripe.payment(org_id, 1000)
    report = await reconcile(reconciler, org_id)
    assert (report.total.checked, report.total.recovered) == (5, 5)
    assert await balance_of(engine, org_id) == 5000


async def test_stripe_asks_for_patience_and_is_given_it(
    reconciler: Reconciler, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 5000)
    await stripe.misbehave(payment_id, kind="status", status=429, retry_after=1, times=1)
    assert (await reconcile(reconciler, org_id)).total.recovered == 1
