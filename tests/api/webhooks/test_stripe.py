"""Stripe's events: who may send them, what is kept of them, and what they come to."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import stripe

from api.webhooks.stripe import _PAYMENT_AT, _TELL_THEIR_CHECKOUT
from tests.support.answers import accepted, balance, eventually, expect_refusal
from tests.support.api_server import Api
from tests.support.factories import an_organization, keys_of, unique
from tests.support.signed_webhooks import (
    NOBODYS,
    STRIPE_SECRETS,
    Webhook,
    signed_by_stripe,
    stripe_event,
    stripe_signature,
)
from tests.support.stand_ins import StripeStandIn

BODY = b'{"id": "evt_signed", "type": "charge.updated"}'
MINUTES = 60
OLDEST, NEWEST = -5 * MINUTES, 5 * MINUTES


@pytest.mark.parametrize("secret", STRIPE_SECRETS)
async def test_an_event_signed_with_any_live_secret_is_stored_before_it_is_acknowledged(
    api: Api, secret: bytes
) -> None:
    payment = unique("pi")
    event = stripe_event("payment_intent.succeeded", {"id": payment}, secret=secret)
    answer = await api.send(event)
    assert answer.json() == {"status": "accepted", "event": event.key}
    row = await api.event(event.key)
    assert (row.source, row.type, row.subject) == ("stripe", "payment_intent.succeeded", payment)
    assert row.status == "waiting"
    assert row.body.encode() == event.body


@pytest.mark.parametrize(
    "event_type", ["checkout.session.completed", "checkout.session.async_payment_succeeded"]
)
async def test_a_checkout_event_is_about_the_payment_of_its_session(
    api: Api, event_type: str
) -> None:
    payment = unique("pi")
    event = stripe_event(event_type, {"id": unique("cs"), "payment_intent": payment})
    assert accepted(await api.send(event)) == "accepted"
    assert (await api.event(event.key)).subject == payment


NAME_THEIR_PAYMENT = [
    "charge.captured",
    "charge.refunded",
    "charge.refund.updated",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.dispute.created",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "charge.dispute.updated",
    "charge.dispute.closed",
]


@pytest.mark.parametrize("event_type", NAME_THEIR_PAYMENT)
async def test_an_event_about_a_charge_a_refund_or_a_dispute_is_about_its_payment(
    api: Api, event_type: str
) -> None:
    payment = unique("pi")
    event = stripe_event(event_type, {"id": unique("re"), "payment_intent": payment})
    assert accepted(await api.send(event)) == "accepted"
    row = await api.event(event.key)
    assert (row.type, row.subject, row.status) == (event_type, payment, "waiting")


@pytest.mark.parametrize("event_type", NAME_THEIR_PAYMENT)
async def test_an_event_about_a_charge_without_a_payment_intent_is_ignored(
    api: Api, event_type: str
) -> None:
    event = stripe_event(event_type, {"id": unique("ch"), "payment_intent": None})
    assert accepted(await api.send(event)) == "ignored"


@pytest.mark.parametrize(
    ("event_type", "inner"),
    [
        ("payment_intent.payment_failed", {"id": "pi_1"}),
        ("payment_intent.canceled", {"id": "pi_1"}),
        ("payment_intent.amount_capturable_updated", {"id": "pi_1"}),
        ("charge.failed", {"id": "ch_1", "payment_intent": "pi_1"}),
        ("customer.created", {"id": "cus_1"}),
        ("never.heard.of", {}),
        ("checkout.session.completed", {"id": "cs_1", "payment_intent": None}),
        ("payment_intent.succeeded", {"id": {"not": "an id"}}),
    ],
)
async def test_an_event_that_names_no_payment_of_interest_is_recorded_as_ignored(
    api: Api, event_type: str, inner: dict[str, object]
) -> None:
    event = stripe_event(event_type, inner)
    assert accepted(await api.send(event)) == "ignored"
    row = await api.event(event.key)
    assert (row.type, row.status) == (event_type, "ignored")


def test_operators_are_told_of_every_event_that_stripe_should_send() -> None:
    told = (Path(__file__).parents[3] / "docs/operations.md").read_text()
    assert {*NAME_THEIR_PAYMENT} < _PAYMENT_AT.keys()
    events = {*_PAYMENT_AT, *_TELL_THEIR_CHECKOUT}
    assert [name for name in events if f"`{name}`" not in told] == []


@pytest.mark.parametrize("event_type", sorted(_TELL_THEIR_CHECKOUT))
@pytest.mark.parametrize(
    "metadata",
    [
        {"checkout": f"checkout/{unique('org')}/2500"},
        {"checkout": "collect/acme"},
        {"checkout": 7},
        {"checkout": ""},
        {},
        None,
    ],
)
async def test_an_event_about_a_session_is_taken_whether_its_checkout_runs_or_not(
    api: Api, event_type: str, metadata: object
) -> None:
    session = {"id": unique("cs"), "payment_intent": None, "metadata": metadata}
    event = stripe_event(event_type, session)
    assert accepted(await api.send(event)) == "ignored"
    assert (await api.event(event.key)).status == "ignored"


async def test_the_same_event_again_is_a_duplicate(api: Api) -> None:
    event = stripe_event()
    answers = [accepted(await api.send(event)) for _ in range(3)]
    assert answers == ["accepted", "duplicate", "duplicate"]


async def test_of_fifty_deliveries_of_one_event_at_once_one_is_accepted(api: Api) -> None:
    event = stripe_event()
    answers = await asyncio.gather(*(api.send(event) for _ in range(50)))
    assert Counter(map(accepted, answers)) == {"accepted": 1, "duplicate": 49}


async def test_outcomes_are_counted_by_what_became_of_the_event(api: Api) -> None:
    before = Counter(await api.counted())
    event = stripe_event()
    for webhook in (event, event, stripe_event("customer.created")):
        await api.send(webhook)
    more = Counter(await api.counted()) - before
    assert more == {("stripe", each): 1 for each in ("accepted", "duplicate", "ignored")}


def right(body: bytes) -> str:
    return stripe_signature(body)


def old_secret(body: bytes) -> str:
    return stripe_signature(body, STRIPE_SECRETS[1])


def while_a_secret_is_rolled(body: bytes) -> str:
    """Stripe then signs with both, in one header."""
    wrong = stripe_signature(body, NOBODYS)
    return f"{wrong},v1={stripe_signature(body).partition('v1=')[2]}"


def with_another_scheme(body: bytes) -> str:
    return f"{stripe_signature(body)},v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb0"


def almost_too_old(body: bytes) -> str:
    return stripe_signature(body, at=time.time() + OLDEST + MINUTES)


def too_old(body: bytes) -> str:
    return stripe_signature(body, at=time.time() + OLDEST - MINUTES)


def nobodys_secret(body: bytes) -> str:
    return stripe_signature(body, NOBODYS)


def of_another_body(body: bytes) -> str:
    return stripe_signature(body + b" ")


def of_another_time(body: bytes) -> str:
    now = int(time.time())
    return stripe_signature(body, at=now).replace(f"t={now}", f"t={now - 1}")


def in_the_wrong_scheme(body: bytes) -> str:
    return stripe_signature(body).replace("v1=", "v0=")


def without_a_time(body: bytes) -> str:
    return stripe_signature(body).partition(",")[2]


def without_a_signature(body: bytes) -> str:
    return stripe_signature(body).partition(",")[0]


def with_an_empty_signature(body: bytes) -> str:
    return f"t={int(time.time())},v1="


def nonsense(body: bytes) -> str:
    return "t=yesterday,v1=trust-me"


SIGNATURES = [right, old_secret, while_a_secret_is_rolled, with_another_scheme, almost_too_old,
              too_old, nobodys_secret, of_another_body, of_another_time, in_the_wrong_scheme,
              without_a_time, without_a_signature, with_an_empty_signature, nonsense]  # fmt: skip


@pytest.mark.parametrize("sign", SIGNATURES)
async def test_a_signature_is_good_here_exactly_when_it_is_for_stripes_own_code(
    api: Api, sign: Callable[[bytes], str]
) -> None:
    header = sign(BODY)
    answer = await api.send(signed_by_stripe(BODY).but(stripe_signature=header))
    assert answer.status_code in (200, 401)
    assert (answer.status_code == 200) == good_for_stripe(header)


def good_for_stripe(header: str) -> bool:
    def verified(secret: bytes) -> bool:
        try:
            stripe.Webhook.construct_event(BODY, header, secret.decode())
        except stripe.SignatureVerificationError:
            return False
        return True

    return any(verified(secret) for secret in STRIPE_SECRETS)


def test_the_signatures_above_are_both_good_and_bad() -> None:
    verdicts = Counter(good_for_stripe(sign(BODY)) for sign in SIGNATURES)
    assert verdicts == {True: 5, False: 9}


def from_the_future(body: bytes) -> str:
    return stripe_signature(body, at=time.time() + NEWEST + MINUTES)


def of_an_endless_time(body: bytes) -> str:
    return f"t={'9' * 5000},v1=0"


def of_a_time_beyond_floats(body: bytes) -> str:
    return f"t={'9' * 400},v1=0"


@pytest.mark.parametrize(
    "sign",
    [too_old, from_the_future, nobodys_secret, of_another_body, without_a_time, nonsense,
     of_an_endless_time, of_a_time_beyond_floats],
)  # fmt: skip
async def test_a_bad_signature_is_turned_away_counted_and_not_stored(
    api: Api, sign: Callable[[bytes], str]
) -> None:
    event = stripe_event()
    await expect_refusal(api, event.but(stripe_signature=sign(event.body)), 401, "unauthorized")


async def test_an_event_without_a_signature_is_turned_away(api: Api) -> None:
    await expect_refusal(api, stripe_event().but(stripe_signature=None), 401, "unauthorized")


async def test_a_vapi_credential_does_not_open_stripes_door(api: Api) -> None:
    event = stripe_event().but(stripe_signature=None, x_vapi_secret="vapi-the-new-one")
    await expect_refusal(api, event, 401, "unauthorized")


@pytest.mark.parametrize(
    "body",
    [
        b'{"type": "payment_intent.succeeded", "data": {"object": {"id": "pi_1"}}}',
        b'{"id": "evt_1"}',
        b'{"id": 7, "type": "payment_intent.succeeded"}',
        b'{"id": "", "type": "payment_intent.succeeded"}',
        b'{"id": "evt_\\u0000", "type": "payment_intent.succeeded"}',
        b'{"id": "evt_1 evt_2", "type": "payment_intent.succeeded"}',
        b'{"id": "evt_1", "type": "payment\\nintent"}',
    ],
)
async def test_an_event_needs_a_usable_id_and_type(api: Api, body: bytes) -> None:
    await expect_refusal(api, signed_by_stripe(body), 400, "malformed")


async def test_both_events_of_a_payment_in_either_order_come_to_one_credit(
    working_api: Api, stripe: StripeStandIn
) -> None:
    api = working_api
    org_id = await an_organization(api.engine)
    payment = await stripe.checkout(org_id, 2500, type="wallet_topup", org_id=org_id)
    completed = stripe_event("checkout.session.completed", {"payment_intent": payment})
    succeeded = stripe_event("payment_intent.succeeded", {"id": payment})
    for event in (completed, succeeded, completed):
        await api.send(event)
    await eventually(lambda: both_handled(api, completed, succeeded))
    assert await balance(api, org_id) == 2500
    assert await keys_of(api.engine, org_id) == [f"payment:{payment}:credit"]


async def both_handled(api: Api, *events: Webhook) -> bool:
    rows = [await api.event(event.key) for event in events]
    return all(row.status == "handled" for row in rows)
