"""Stripe's events: hints that something happened to a payment, which is then fetched."""

import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.problems import Malformed
from api.services import Services
from api.webhooks import signatures
from api.webhooks.reading import answer, name_at, parse_object, read_body
from api.webhooks.receiving import WEBHOOK_RESPONSES, body_like, counted
from billing.webhook import EventStatus, Source, WebhookEvent
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
        signatures.verify_stripe(request.headers, body, services.stripe_secrets, time.time())
        event = event_from(body)
    return answer(await services.intake.accept(event), event.key)


def event_from(body: bytes) -> WebhookEvent:
    """Read an event; raises Malformed.

    One that names no payment of interest is ignored, as one about a charge without PaymentIntent.
    """
    event = parse_object(body)
    key, event_type = name_at(event, "id"), name_at(event, "type")
    if key is None or event_type is None:
        raise Malformed("an event needs an id and a type")
    where = _PAYMENT_AT.get(event_type)
    payment_id = where and name_at(event, "data", "object", where)
    return WebhookEvent(
        source=Source.STRIPE,
        key=key,
        type=event_type,
        subject=payment_id or "",
        body=body.decode(),
        status=EventStatus.WAITING if payment_id else EventStatus.IGNORED,
        checkout_id=_checkout_of(event) if event_type in _TELL_THEIR_CHECKOUT else None,
    )


def _checkout_of(event: dict[str, Any]) -> str | None:
    """Read from its metadata which workflow has opened a session; None for one of others."""
    workflow_id = name_at(event, "data", "object", "metadata", "checkout")
    is_checkout = workflow_id is not None and workflow_id.startswith(WORKFLOW_PREFIX)
    return workflow_id if is_checkout else None
