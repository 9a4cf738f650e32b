"""Reading payments from Stripe, over HTTP."""

from datetime import timedelta

import pytest
from stripe import APIError, Dispute, PaymentIntent, StripeError
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.payments.stripe import StripeActivities, payment_from
from billing.errors import PaymentMissing
from billing.payments.payment import Payment
from tests.support.factories import unique
from tests.support.stand_ins import StripeStandIn
from wiring import Clients


async def fetch(clients: Clients, payment_id: str) -> Payment:
    return await ActivityEnvironment().run(
        StripeActivities(clients.stripe).fetch_payment, payment_id
    )


async def test_a_payment_says_what_was_paid_by_whom_and_what_was_asked_for(
    clients: Clients, stripe: StripeStandIn
) -> None:
    payment_id = await stripe.payment("org", 2500, amount_minor="3000")
    payment = await fetch(clients, payment_id)
    assert (payment.payment_id, payment.status) == (payment_id, "succeeded")
    assert (payment.received_minor, payment.currency) == (2500, "gbp")
    assert (payment.type, payment.org_id) == ("wallet_topup", "org")
    assert (payment.expected_minor, payment.session_org_id) == (3000, None)


async def test_the_checkout_session_names_the_organisation_too(
    clients: Clients, stripe: StripeStandIn
) -> None:
    silent = await fetch(clients, await stripe.checkout("org", 2500))
    assert (silent.org_id, silent.session_org_id, silent.owner) == (None, "org", "org")
    other = await fetch(clients, await stripe.checkout("org", 2500, org_id="another"))
    assert (other.org_id, other.session_org_id) == ("another", "org")


async def test_without_an_amount_in_the_metadata_the_payments_own_was_asked_for(
    clients: Clients, stripe: StripeStandIn
) -> None:
    payment = await fetch(clients, await stripe.payment("org", 2500, amount_minor=""))
    assert payment.expected_minor == 2500


@pytest.mark.parametrize("nonsense", ["25.00", "-2500", "much", "٢٥٠٠", "2500 "])
async def test_an_amount_in_the_metadata_that_is_none_fits_no_payment(
    clients: Clients, stripe: StripeStandIn, nonsense: str
) -> None:
    payment = await fetch(clients, await stripe.payment("org", 2500, amount_minor=nonsense))
    assert payment.expected_minor is None


async def test_a_payment_that_was_declined_has_received_nothing(
    clients: Clients, stripe: StripeStandIn
) -> None:
    declined = await stripe.payment("org", 2500, card="pm_card_chargeDeclined")
    payment = await fetch(clients, declined)
    assert (payment.status, payment.received_minor) == ("requires_payment_method", 0)


async def test_all_refunds_are_read_however_many_there_are(
    clients: Clients, stripe: StripeStandIn
) -> None:
    payment_id = await stripe.payment("org", 25_000)
    waiting = await stripe.refund(payment_id, amount=700, status="pending")
    made = {await stripe.refund(payment_id, amount=100) for _ in range(100)}
    payment = await fetch(clients, payment_id)
    assert {refund.refund_id for refund in payment.refunds} == made | {waiting}
    [pending] = [one for one in payment.refunds if one.refund_id == waiting]
    assert (pending.amount_minor, pending.status, pending.is_booked) == (700, "pending", False)
    assert all(one.is_booked for one in payment.refunds if one is not pending)
    assert all(one.created_at >= payment.created_at for one in payment.refunds)


async def test_a_dispute_says_what_it_took_and_gave_back_without_stripes_fee(
    clients: Clients, stripe: StripeStandIn
) -> None:
    payment_id = await stripe.payment("org", 2500)
    inquiry = await stripe.dispute(payment_id, status="warning_needs_response")
    formal = await stripe.dispute(payment_id, amount=1200)
    await stripe.dispute_becomes(formal, "won", amount=1100)
    found = {one.dispute_id: one for one in (await fetch(clients, payment_id)).disputes}
    assert found.keys() == {inquiry, formal}
    assert found[inquiry].movements == ()
    moved = [(one.amount_minor, one.currency) for one in found[formal].movements]
    assert moved == [(-1200, "gbp"), (1100, "gbp")]


async def test_a_capture_in_part_says_what_was_meant_and_what_was_taken(
    clients: Clients, stripe: StripeStandIn
) -> None:
    payment_id = await stripe.payment("org", 2500, capture="manual")
    await stripe.capture(payment_id, 700)
    payment = await fetch(clients, payment_id)
    assert (payment.intended_minor, payment.expected_minor) == (2500, 2500)
    assert (payment.received_minor, payment.is_captured_in_part) == (700, True)
    [released] = payment.refunds
    assert (released.amount_minor, released.status) == (1800, "succeeded")
    assert not released.is_booked


@pytest.mark.parametrize(
    ("settled_in", "expected"),
    [
        (("gbp", "gbp"), (-2500, "gbp")),
        (("eur", "gbp"), (-1900, "gbp")),
        (("eur", "usd"), (-1900, "usd")),
        (("gbp", "usd"), (-2500, "gbp")),
    ],
)
def test_what_stripe_keeps_in_another_currency_counts_with_the_disputed_amount(
    settled_in: tuple[str, str], expected: tuple[int, str]
) -> None:
    transaction_in, dispute_in = settled_in
    booked = {"id": "txn_1", "amount": -2500, "currency": transaction_in, "created": 0}
    disputed = {"id": "du_1", "amount": 1900, "currency": dispute_in, "status": "lost"}
    dispute = Dispute.construct_from({**disputed, "balance_transactions": [booked]}, None)
    intent = PaymentIntent.construct_from(
        {"id": "pi_1", "status": "succeeded", "currency": "gbp", "amount": 2500,
         "amount_received": 2500, "created": 0, "metadata": {}, "customer": None}, None,
    )  # fmt: skip
    [read] = payment_from(intent, None, disputes=[dispute]).disputes
    assert [(one.amount_minor, one.currency) for one in read.movements] == [expected]


async def test_a_payment_that_stripe_does_not_know_is_refused(clients: Clients) -> None:
    with pytest.raises(PaymentMissing):
        await fetch(clients, unique("pi"))


@pytest.mark.parametrize(
    ("seconds", "delay"),
    [(7, timedelta(seconds=7)), (None, None), (86_400, timedelta(minutes=5))],
)
async def test_a_rate_limit_is_a_fault_that_comes_back_when_stripe_says(
    clients: Clients, stripe: StripeStandIn, seconds: int | None, delay: timedelta | None
) -> None:
    payment_id = await stripe.payment("org", 2500)
    await stripe.misbehave(payment_id, kind="status", status=429, retry_after=seconds)
    with pytest.raises(ApplicationError) as limited:
        await fetch(clients, payment_id)
    assert (limited.value.non_retryable, limited.value.next_retry_delay) == (False, delay)
    assert (await fetch(clients, payment_id)).received_minor == 2500


@pytest.mark.parametrize("kind", ["status", "status_after", "reset", "reset_after"])
async def test_an_outage_is_a_fault_and_not_a_refusal(
    clients: Clients, stripe: StripeStandIn, kind: str
) -> None:
    payment_id = await stripe.payment("org", 2500)
    await stripe.misbehave(payment_id, kind=kind, status=500)
    with pytest.raises(StripeError) as outage:
        await fetch(clients, payment_id)
    assert kind.startswith("reset") or isinstance(outage.value, APIError)
    assert (await fetch(clients, payment_id)).received_minor == 2500
