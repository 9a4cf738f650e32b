"""Stripe's events: hints that something happened to a payment, which is then fetched."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.http.problems import Malformed
from api.services import Services
from api.webhooks.documentation import WEBHOOK_RESPONSES, body_like
from api.webhooks.exchange import (
    answer,
    counted,
    hex_signatures,
    name_at,
    parse_object,
    read_body,
    require_one_of,
    require_recent,
)
from billing.alerts.payments import other_mode_alert
from billing.inbox.webhook_event import (
    LEADING_TO_A_PAYMENT,
    EventStatus,
    Facts,
    ObjectHint,
    PaymentHint,
    SessionHint,
    Source,
    WebhookEvent,
)
from workflows.checkout import WORKFLOW_PREFIX

router = APIRouter(tags=["webhooks"])

_NAMES_ITS_PAYMENT = (
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
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
)
# Where each type of event names the payment that it is about, of those after which an entry may be
# due. A payment that failed, was canceled, or waits to be captured calls for none.
_PAYMENT_AT = {"payment_intent.succeeded": "id"} | dict.fromkeys(
    _NAMES_ITS_PAYMENT, "payment_intent"
)

# All that can happen to a session: its checkout wants to know, also where no entry is due.
_TELL_THEIR_CHECKOUT = frozenset(
    {
        "checkout.session.completed",
        "checkout.session.expired",
        "checkout.session.async_payment_succeeded",
        "checkout.session.async_payment_failed",
    }
)

# A thin event shows no object, but names one, and what it is; its type has a version before it
# (stripe 16.1, `stripe.v2.core.Event` and `stripe.events`).
_THIN = "v2.core.event"
_THIN_VERSION = "v1."

# As what events are counted that are ignored for these reasons.
OTHER_ACCOUNT = "other_account"
OTHER_MODE = "other_mode"

_EXAMPLE = {
    "id": "evt_1QvYh2",
    "object": "event",
    "type": "payment_intent.succeeded",
    "data": {"object": {"id": "pi_3QvYh2", "object": "payment_intent", "status": "succeeded"}},
}


@router.post("/webhooks/stripe", responses=WEBHOOK_RESPONSES, openapi_extra=body_like(_EXAMPLE))
async def receive(request: Request) -> Response:
    """Take an event with a `Stripe-Signature` by any of the live signing secrets."""
    services = Services.of(request)
    with counted(services.metrics, Source.STRIPE):
        body = await read_body(request)
        verify_stripe(request.headers, body, services.stripe_secrets, time.time())
        event = event_from(body, services.stripe_livemode)
    accepted = await services.intake.accept(event)
    if event.outcome == OTHER_MODE and services.stripe_livemode is not None:
        today = datetime.fromtimestamp(time.time(), UTC).date()
        services.intake.tell(other_mode_alert(today, live=services.stripe_livemode))
    return answer(accepted, event.key)


def verify_stripe(
    headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], now: float
) -> None:
    """Check `Stripe-Signature: t=…,v1=…[,v1=…]`, HMAC-SHA256 of `{t}.{body}`; raise Unauthorized.

    Source: Stripe's "Verify webhook signatures manually".
    """
    fields = [part.partition("=") for part in headers.get("stripe-signature", "").split(",")]
    times = [value for name, _, value in fields if name.strip() == "t"]
    signatures = [value for name, _, value in fields if name.strip() == "v1"]
    timestamp = times[0] if times else ""
    require_recent(timestamp, now)
    require_one_of(signatures, hex_signatures(timestamp, body, secrets))


def event_from(body: bytes, livemode: bool | None = None) -> WebhookEvent:
    """Read an event; raise Malformed.

    One that leads to no payment of interest is ignored, as one about a charge without
    PaymentIntent. So is one of another account or, unless `livemode` is None, of another mode than
    ours: with the worker's key Stripe would not know its payment.
    """
    event = parse_object(body)
    key, event_type = name_at(event, "id"), name_at(event, "type")
    if key is None or event_type is None:
        raise Malformed("an event needs an id and a type")
    if outcome := _none_of_ours(event, livemode):
        return WebhookEvent(
            Source.STRIPE,
            key,
            event_type,
            subject="",
            body=body.decode(),
            status=EventStatus.IGNORED,
            outcome=outcome,
        )
    subject, facts = _read(event, key, event_type)
    return WebhookEvent(
        source=Source.STRIPE,
        key=key,
        type=event_type,
        subject=subject,
        body=body.decode(),
        status=EventStatus.WAITING if subject else EventStatus.IGNORED,
        facts=facts,
    )


def _read(event: dict[str, Any], key: str, event_type: str) -> tuple[str, Facts | None]:
    """Return what an event is about, and what follows from it; "" and None if it is ignored."""
    if event.get("object") == _THIN:
        return _named(event, key, event_type.removeprefix(_THIN_VERSION))
    where = _PAYMENT_AT.get(event_type)
    payment_id = where and name_at(event, "data", "object", where)
    hint = PaymentHint(payment_id, key) if payment_id else None
    checkout_id = _checkout_of(event) if event_type in _TELL_THEIR_CHECKOUT else None
    return payment_id or "", SessionHint(checkout_id, hint) if checkout_id else hint


def _named(event: dict[str, Any], key: str, event_type: str) -> tuple[str, Facts | None]:
    """Read a thin event. Its `url` is not believed: what is fetched follows from type and id."""
    object_id = name_at(event, "related_object", "id")
    object_type = name_at(event, "related_object", "type")
    if object_id is None or event_type not in _PAYMENT_AT.keys() | _TELL_THEIR_CHECKOUT:
        return "", None
    if object_type == "payment_intent":
        return object_id, PaymentHint(object_id, key)
    if object_type in LEADING_TO_A_PAYMENT:
        return object_id, ObjectHint(object_type, object_id, key)
    return "", None


def _none_of_ours(event: dict[str, Any], livemode: bool | None) -> str | None:
    """Return as what an event is counted that is of another account or mode; None for ours.

    Only an event of a connected account names its `account`, and a thin one that our key alone
    cannot follow up its `context` (stripe 16.1, `Event.account`, `v2.core.Event.context`).
    """
    is_of_another = event.get("object") == _THIN and event.get("context")
    if event.get("account") is not None or is_of_another:
        return OTHER_ACCOUNT
    is_live = event.get("livemode")
    return OTHER_MODE if isinstance(is_live, bool) and livemode is (not is_live) else None


def _checkout_of(event: dict[str, Any]) -> str | None:
    """Read from its metadata which workflow has opened a session; None for one of others."""
    workflow_id = name_at(event, "data", "object", "metadata", "checkout")
    is_checkout = workflow_id is not None and workflow_id.startswith(WORKFLOW_PREFIX)
    return workflow_id if is_checkout else None
