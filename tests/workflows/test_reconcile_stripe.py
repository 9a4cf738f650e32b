"""Payments, refunds and disputes at Stripe against the ledger, and the ledger against Stripe."""

import asyncio
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

import activities.reconciliation.stripe_lists
import billing.reconciliation.reconciliation
from billing.inbox.webhook_event import PaymentHint, Source
from billing.ledger.entry import payment_credit_key, refund_key
from billing.ledger.money import Currency, Money
from billing.payments.payment import RECHARGE, payment_workflow_id
from billing.recharges.attempt import AttemptState, Card
from billing.reconciliation.reconciliation import FindingKind, FindingOutcome, Report, Window
from store.ledger import ledger, wallets
from store.payments import disputes, payments
from store.recharges import recharges
from tests.support.eventually import eventually
from tests.support.factories import (
    an_organization,
    balance_of,
    charge_of,
    credit_of,
    keys_of,
    unique,
)
from tests.support.inbox_events import accept, event_of
from tests.support.parked_workflows import discard, ended, until_parked
from tests.support.recharged_payers import Payer, a_payer, standing_of
from tests.support.reconciled_days import Reconciler
from tests.support.stand_ins import StripeStandIn
from workflows import settle_payment
from workflows.settle_payment import SettlePayment


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was paid this very second is looked at: Stripe's clock cannot be set back."""
    monkeypatch.setattr(billing.reconciliation.reconciliation, "GRACE", timedelta(seconds=-2))


@dataclass(frozen=True)
class Lately(Reconciler):
    """Reconciles what has happened at Stripe since a test began: other tests pay there, too."""

    since: datetime = field(default_factory=lambda: now().replace(microsecond=0))

    def window(self) -> Window:
        return Window(self.since, now() + timedelta(seconds=1))


@pytest.fixture
def reconciler(worker: Client, engine: AsyncEngine) -> Lately:
    return Lately(worker, engine, Source.STRIPE)


def now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)


async def reconcile(reconciler: Lately, org_id: str, *, dry_run: bool = False) -> Report:
    return await reconciler.reconcile(reconciler.window(), org_id=org_id, dry_run=dry_run)


async def settle(worker: Client, payment_id: str) -> None:
    """Settle a payment as its webhook would have had it settled."""
    hint = PaymentHint(payment_id, unique("evt"))
    options = settle_payment.start_options(payment_id)
    await ended(await worker.start_workflow(SettlePayment.run, hint, **options))


async def give_up(engine: AsyncEngine, payment_id: str) -> None:
    async with engine.begin() as connection:
        await payments.discard(connection, payment_id, "Ann: by hand")


async def test_a_payment_whose_events_were_lost_is_credited(
    reconciler: Lately, engine: AsyncEngine, stripe: StripeStandIn
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
    reconciler: Lately, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    await stripe.checkout(org_id, 2500, type="wallet_topup")
    report = await reconcile(reconciler, org_id)
    assert (report.total.checked, report.total.missing, report.total.recovered) == (1, 1, 1)
    assert await balance_of(engine, org_id) == 2500


async def test_a_payment_that_is_known_but_was_never_credited_is_found(
    reconciler: Lately, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 5000)
    await accept(engine, event_of(PaymentHint(payment_id, unique("evt")), due_in_seconds=3600.0))
    report = await reconcile(reconciler, org_id)
    assert (report.total.missing, report.total.unbilled, report.total.recovered) == (0, 1, 1)
    assert report.total.reliability_percent == Decimal(100)


async def test_a_lost_refund_is_taken_from_the_wallet(
    reconciler: Lately, worker: Client, engine: AsyncEngine, stripe: StripeStandIn
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
    reconciler: Lately, worker: Client, engine: AsyncEngine, stripe: StripeStandIn
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
    reconciler: Lately, worker: Client, engine: AsyncEngine, stripe: StripeStandIn
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
    reconciler: Lately, worker: Client, stripe: StripeStandIn
) -> None:
    stranger = unique("org")
    payment_id = await stripe.payment(stranger, 5000)
    report = await reconciler.reconcile(reconciler.window())
    [finding] = [one for one in await reconciler.findings(report) if one.subject == payment_id]
    assert (finding.kind, finding.outcome) == (
        FindingKind.MISSING,
        FindingOutcome.QUARANTINED,
    )
    assert finding.detail == "unknown_organization"
    handle = worker.get_workflow_handle(payment_workflow_id(payment_id))
    await until_parked(handle, "unknown_organization")


async def test_a_payment_that_a_person_gave_up_is_not_brought_up_again(
    reconciler: Lately, worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 5000, amount_minor="4000")
    assert (await reconcile(reconciler, org_id)).total.quarantined == 1
    handle = worker.get_workflow_handle(payment_workflow_id(payment_id))
    await until_parked(handle, "amount_mismatch")
    assert (await discard(handle, "Ann: refunded in Stripe")).state == "discarded"
    assert (await reconcile(reconciler, org_id)).total.missing == 0


async def test_a_refund_is_found_for_whom_was_credited_though_the_payment_names_another_by_now(
    reconciler: Lately, worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    one, other = await an_organization(engine), await an_organization(engine)
    payment_id = await stripe.payment(one, 5000)
    await settle(worker, payment_id)
    await stripe.edit(payment_id, org_id=other)
    await stripe.refund(payment_id, amount=1200)
    of_other = await reconcile(reconciler, other)
    assert (of_other.total.checked, of_other.total.missing) == (0, 0)
    assert (await reconcile(reconciler, one)).total.recovered == 1
    assert (await balance_of(engine, one), await balance_of(engine, other)) == (3800, 0)


async def test_a_refund_of_a_credited_payment_that_was_given_up_is_found(
    reconciler: Lately, worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 5000)
    await settle(worker, payment_id)
    await give_up(engine, payment_id)
    await stripe.edit(payment_id, type="subscription")
    await stripe.refund(payment_id, amount=1200)
    assert (await reconcile(reconciler, org_id)).total.recovered == 1
    assert await balance_of(engine, org_id) == 3800


@pytest.mark.parametrize("names", ["the organisation", "the customer"])
async def test_a_payment_of_another_product_is_shown_if_it_names_somebody_of_ours(
    reconciler: Lately, engine: AsyncEngine, stripe: StripeStandIn, names: str
) -> None:
    payer = await a_payer(engine, stripe, 400)
    org_id = payer.org_id if names == "the organisation" else None
    payment_id = await stripe.payment(org_id, 5000, type="subscription", amount_minor="")
    if org_id is None:
        await stripe.edit(payment_id, customer=payer.customer_id)
    report = await reconcile(reconciler, payer.org_id)
    [finding] = await reconciler.findings(report)
    assert (finding.subject, finding.outcome) == (payment_id, FindingOutcome.REPORTED)
    assert finding.detail.startswith("ignored: it names")


async def test_a_payment_that_was_given_up_uncredited_is_shown_and_left_alone(
    reconciler: Lately, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 5000)
    await give_up(engine, payment_id)
    await stripe.refund(payment_id, amount=1200)
    for _ in range(2):
        report = await reconcile(reconciler, org_id)
        assert (report.total.missing, report.total.unbilled, report.total.recovered) == (0, 1, 0)
        [finding] = await reconciler.findings(report)
        assert (finding.subject, finding.outcome) == (payment_id, FindingOutcome.REPORTED)
        assert finding.detail.startswith("discarded (Ann: by hand)")
    assert await keys_of(engine, org_id) == []


async def test_a_payment_that_was_given_up_is_shown_though_only_a_refund_of_it_is_recent(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 5000)
    await give_up(engine, payment_id)
    later = Lately(worker, engine, Source.STRIPE, since=now() + timedelta(seconds=1))
    await asyncio.sleep(1.1)
    await stripe.refund(payment_id, amount=100)
    [finding] = await later.findings(await reconcile(later, org_id))
    assert (finding.subject, finding.outcome) == (payment_id, FindingOutcome.REPORTED)
    assert "discarded" in finding.detail
    assert await keys_of(engine, org_id) == []


async def test_a_refund_that_was_taken_from_another_than_was_credited_is_reported(
    reconciler: Lately, worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    one, other = await an_organization(engine), await an_organization(engine)
    payment_id = await stripe.payment(one, 5000)
    await settle(worker, payment_id)
    key = refund_key(await stripe.refund(payment_id, amount=1200))
    async with engine.begin() as connection:
        await ledger.post(connection, [charge_of(other, 500, key)])
    report = await reconcile(reconciler, one)
    assert (report.total.drifted, report.total.recovered) == (1, 0)
    [finding] = await reconciler.findings(report)
    assert finding.detail == f"{key} is of {other}, not of {one}"
    assert finding.amount == Money(-1200, Currency.GBP)


async def test_a_payment_of_another_business_is_none_of_ours(
    reconciler: Lately, stripe: StripeStandIn
) -> None:
    payment_id = await stripe.payment(None, 5000, type="subscription")
    await stripe.refund(payment_id, amount=1000)
    report = await reconciler.reconcile(reconciler.window())
    assert payment_id not in {one.subject for one in await reconciler.findings(report)}


async def test_a_declined_payment_is_owed_nothing(
    reconciler: Lately, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    await stripe.payment(org_id, 5000, card="pm_card_visa_chargeDeclined")
    assert (await reconcile(reconciler, org_id)).total.checked == 0


async def test_a_credit_without_a_payment_is_reported_and_left_alone(
    reconciler: Lately, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    invented = credit_of(org_id, 700, payment_credit_key(unique("pi")))
    declined = await stripe.payment(org_id, 900, card="pm_card_visa_chargeDeclined")
    unpaid = credit_of(org_id, 900, payment_credit_key(declined))
    async with engine.begin() as connection:
        credits_of_today = [replace(one, occurred_at=now()) for one in (invented, unpaid)]
        await ledger.post(connection, credits_of_today)
    report = await reconcile(reconciler, org_id)
    assert (report.total.orphaned, report.total.recovered) == (2, 0)
    details = sorted(one.detail for one in await reconciler.findings(report))
    assert details == [
        "a test: 7.00 GBP were credited, and the payment is not known to Stripe",
        "a test: 9.00 GBP were credited, and the payment is requires_payment_method",
    ]
    assert await balance_of(engine, org_id) == 1600


async def test_a_dry_run_reports_and_credits_nothing(
    reconciler: Lately, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    await stripe.payment(org_id, 5000)
    report = await reconcile(reconciler, org_id, dry_run=True)
    assert (report.total.missing, report.total.recovered) == (1, 0)
    assert await keys_of(engine, org_id) == []


async def test_long_lists_are_walked_page_by_page(
    reconciler: Lately,
    engine: AsyncEngine,
    stripe: StripeStandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(activities.reconciliation.stripe_lists, "PAGE", 2)
    org_id = await an_organization(engine)
    for _ in range(5):
        await stripe.payment(org_id, 1000)
    report = await reconcile(reconciler, org_id)
    assert (report.total.checked, report.total.recovered) == (5, 5)
    assert await balance_of(engine, org_id) == 5000


async def test_stripe_asks_for_patience_and_is_given_it(
    reconciler: Lately, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 5000)
    await stripe.misbehave(payment_id, kind="status", status=429, retry_after=1, times=1)
    assert (await reconcile(reconciler, org_id)).total.recovered == 1


async def a_lost_recharge(
    engine: AsyncEngine, stripe: StripeStandIn, other: str, *, is_recorded: bool
) -> tuple[Payer, str]:
    """A recharge of which no event came, and whose metadata are another organisation's by now.

    While its payment is not recorded, they name the attempt, and its customer is who was asked.
    Afterwards nothing at Stripe has to say any more whose it was.
    """
    payer = await a_payer(engine, stripe, 400)
    async with engine.begin() as connection:
        await wallets.lock(connection, [payer.org_id])
        card, fifty = Card(payer.customer_id, payer.card_id, "finger"), Money(5000, Currency.GBP)
        made = await recharges.write_down(connection, payer.org_id, fifty, card, now())
    payment_id = await stripe.payment(other, 5000, type=RECHARGE, attempt_id=made.attempt_id)
    await stripe.edit(payment_id, customer=payer.customer_id)
    if is_recorded:
        async with engine.begin() as connection:
            await recharges.change(
                connection, made.attempt_id, state=AttemptState.SUCCEEDED, payment_id=payment_id
            )
        edited = {"type": "subscription", "attempt_id": "", "amount_minor": ""}
        await stripe.edit(payment_id, customer=await stripe.customer(), **edited)
    return payer, payment_id


@pytest.mark.parametrize("is_recorded", [False, True])
@pytest.mark.parametrize("is_of_all", [False, True])
async def test_a_recharge_is_found_by_the_run_of_whom_it_was_written_down_for_and_no_other_s(
    reconciler: Lately,
    engine: AsyncEngine,
    stripe: StripeStandIn,
    *,
    is_recorded: bool,
    is_of_all: bool,
) -> None:
    other = await an_organization(engine)
    payer, payment_id = await a_lost_recharge(engine, stripe, other, is_recorded=is_recorded)
    theirs = await reconcile(reconciler, other)
    assert (theirs.total.checked, await reconciler.findings(theirs)) == (0, [])
    org_id = None if is_of_all else payer.org_id
    report = await reconciler.reconcile(reconciler.window(), org_id=org_id)
    found = [one for one in await reconciler.findings(report) if one.subject == payment_id]
    assert [(one.org_id, one.kind) for one in found] == [(payer.org_id, FindingKind.MISSING)]
    [total] = [one for one in report.organizations if one.org_id == payer.org_id]
    assert (total.checked, total.missing, total.recovered) == (1, 1, 1)
    assert await balance_of(engine, payer.org_id) == 5400
    assert await balance_of(engine, other) == 0


@pytest.mark.parametrize("is_open_at_stripe", [False, True])
async def test_a_dispute_that_nobody_heard_the_end_or_the_beginning_of_is_put_right(
    reconciler: Lately,
    worker: Client,
    engine: AsyncEngine,
    stripe: StripeStandIn,
    is_open_at_stripe: bool,
) -> None:
    payer = await a_payer(engine, stripe, 600)
    payment_id = await stripe.payment(payer.org_id, 5000)
    dispute = await stripe.dispute(payment_id)
    await settle(worker, payment_id)
    if is_open_at_stripe:
        async with engine.begin() as connection:
            await disputes.note(connection, payer.org_id, payment_id, dispute, is_open=False)
    else:
        await stripe.dispute_becomes(dispute, "lost")
    report = await reconcile(reconciler, payer.org_id)
    assert (report.total.drifted, report.total.recovered) == (1, 1)
    [finding] = await reconciler.findings(report)
    is_here = "not open here" if is_open_at_stripe else "and open here"
    assert (finding.subject, is_here in finding.detail) == (payment_id, True)

    async def is_frozen_as_at_stripe() -> bool:
        return (await standing_of(engine, payer)).is_disputed is is_open_at_stripe

    await eventually(is_frozen_as_at_stripe)
    assert (await reconcile(reconciler, payer.org_id)).total.drifted == 0


async def test_a_dispute_of_long_ago_that_is_still_open_here_is_looked_at(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    payer = await a_payer(engine, stripe, 600)
    payment_id = await stripe.payment(payer.org_id, 5000)
    dispute = await stripe.dispute(payment_id)
    await settle(worker, payment_id)
    await stripe.dispute_becomes(dispute, "lost")
    later = Lately(worker, engine, Source.STRIPE, since=now() + timedelta(seconds=1))
    await asyncio.sleep(1.1)
    report = await reconcile(later, payer.org_id)
    assert (report.total.drifted, report.total.recovered) == (1, 1)
    assert not (await standing_of(engine, payer)).is_disputed
