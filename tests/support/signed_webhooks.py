"""Make and sign webhooks as their senders do."""

import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import stripe

from tests.support.factories import unique

STRIPE_SECRETS = (b"whsec_the_new_one", b"whsec_the_old_one")
VAPI_SECRETS = (b"vapi-the-new-one", b"vapi-the-old-one")
NOBODYS = b"a secret that is not live"
JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Webhook:
    """A webhook. `key` is the key that the inbox should give it."""

    source: str
    body: bytes
    headers: Mapping[str, str]
    key: str = ""

    def but(self, **headers: str | None) -> Self:
        """Return the same webhook with other headers; None leaves a header out."""
        wanted = {
            **self.headers,
            **{name.replace("_", "-"): text for name, text in headers.items()},
        }
        return replace(self, headers={n: text for n, text in wanted.items() if text is not None})


def stripe_signature(body: bytes, secret: bytes = STRIPE_SECRETS[0], at: float = 0.0) -> str:
    """Sign with Stripe's own code. `at` is in Unix seconds, now by default."""
    header: str = stripe.WebhookSignature.generate_signature_header(
        body.decode(), secret.decode(), int(at or time.time())
    )
    return header


def signed_by_stripe(
    body: bytes, key: str = "", secret: bytes = STRIPE_SECRETS[0], at: float = 0.0
) -> Webhook:
    signature = stripe_signature(body, secret, at)
    return Webhook("stripe", body, {**JSON, "stripe-signature": signature}, key)


def stripe_event(
    event_type: str = "payment_intent.succeeded",
    inner: Mapping[str, Any] | None = None,
    *,
    event_id: str | None = None,
    secret: bytes = STRIPE_SECRETS[0],
    **more: Any,
) -> Webhook:
    """Return an event about a payment. `inner` is its `data.object`, `more` stands beside that."""
    event_id = event_id or unique("evt")
    inner = {"id": unique("pi"), "object": "payment_intent"} if inner is None else inner
    body = {"id": event_id, "object": "event", "type": event_type, "data": {"object": inner}}
    body |= more
    return signed_by_stripe(json.dumps(body).encode(), event_id, secret)


def thin_event(
    event_type: str = "v1.payment_intent.succeeded",
    related: tuple[str, str] | None = None,
    *,
    event_id: str | None = None,
    **more: Any,
) -> Webhook:
    """Return a thin event, about a payment unless `related` is another (type, id) of Stripe's."""
    event_id = event_id or unique("evt_test")
    object_type, object_id = related or ("payment_intent", unique("pi"))
    path = {"checkout.session": "checkout/sessions"}.get(object_type, f"{object_type}s")
    body = {
        "id": event_id,
        "object": "v2.core.event",
        "type": event_type,
        "livemode": False,
        "created": "2026-11-02T12:00:00.000Z",
        "context": None,
        "reason": None,
        "related_object": {
            "id": object_id,
            "type": object_type,
            "url": f"/v1/{path}/{object_id}",
        },
    }
    return signed_by_stripe(json.dumps(body | more).encode(), event_id)


# In milliseconds; the same in all messages of a process, so that they can be the same.
SENT_AT = round(time.time() * 1000)


def message(message_type: str, call_id: str | None, **fields: Any) -> bytes:
    """Return a server message as Vapi writes it. `orgId` is Vapi's account, not an organisation."""
    call = {"id": call_id, "orgId": "vapi-account", "type": "inboundPhoneCall"}
    inner = {"type": message_type, "timestamp": SENT_AT, "call": call, **fields}
    return json.dumps({"message": inner}).encode()


def report(
    assistant_id: str | None = None,
    seconds: int = 60,
    *,
    call_id: str | None = None,
    secret: bytes = VAPI_SECRETS[0],
) -> Webhook:
    """Return the end-of-call-report of a call that took `seconds`, with a bearer token."""
    call_id = call_id or unique("call")
    body = message(
        "end-of-call-report",
        call_id,
        call={"id": call_id, "orgId": "vapi-account"}
        | ({"assistantId": assistant_id} if assistant_id else {}),
        startedAt="2026-11-02T12:00:00.000Z",
        endedAt=f"2026-11-02T12:{seconds // 60:02}:{seconds % 60:02}.000Z",
        endedReason="customer-ended-call",
        durationSeconds=seconds,
    )
    return with_bearer(body, f"{call_id}:end-of-call-report", secret)


def with_bearer(body: bytes, key: str = "", secret: bytes = VAPI_SECRETS[0]) -> Webhook:
    return Webhook("vapi", body, {**JSON, "authorization": f"Bearer {secret.decode()}"}, key)


def with_header(webhook: Webhook, secret: bytes) -> Webhook:
    return webhook.but(authorization=None, x_vapi_secret=secret.decode())


def with_hmac(
    body: bytes, key: str = "", secret: bytes = VAPI_SECRETS[0], timestamp: str | None = None
) -> Webhook:
    timestamp = str(int(time.time())) if timestamp is None else timestamp
    signed = timestamp.encode() + b"." + body
    signature = hmac.new(secret, signed, hashlib.sha256).hexdigest()
    return Webhook("vapi", body, {**JSON, "x-signature": signature, "x-timestamp": timestamp}, key)


def call_id_of(webhook: Webhook) -> str:
    return webhook.key.partition(":")[0]
