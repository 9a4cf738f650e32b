"""Reading payments from Stripe, over HTTP."""

from datetime import timedelta

import pytest
from stripe import APIError, StripeError
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.stripe import StripeActivities
from billing.errors import PaymentMissing
from billing.payment import Payment
from tests.factories import unique
from tests.stand_ins import StripeStandIn
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
