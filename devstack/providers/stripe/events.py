"""Write and sign webhooks as Stripe does."""

import time
from datetime import UTC, datetime

import stripe

from devstack.providers.storage import JsonObject


def signed(body: bytes, secret: str, timestamp: int | None = None) -> dict[str, str]:
    """Return a signed webhook's headers. `timestamp` is seconds since 1970, now if None.

    The SDK's own function signs, so the signature cannot differ from what the SDK verifies.
    """
    seconds = int(time.time()) if timestamp is None else timestamp
    signature = stripe.WebhookSignature.generate_signature_header(body.decode(), secret, seconds)
    return {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": signature}


def thin(event: JsonObject) -> JsonObject:
    """Return the thin event of what an event tells: it names the object, and does not show it.

    It is an event of its own, which names the other (stripe 16.1, `v2.core.Event`).
    """
    item, request = event["data"]["object"], event["request"]
    called = item["object"].replace(".", "/")
    cause = {"type": "request", "request": request} if request["id"] else None
    created = datetime.fromtimestamp(event["created"], UTC)
    return {
        "id": f"evt_test_{event['id'].removeprefix('evt_')}",
        "object": "v2.core.event",
        "type": f"v1.{event['type']}",
        "created": f"{created:%Y-%m-%dT%H:%M:%S.000Z}",
        "livemode": event["livemode"],
        "context": None,
        "reason": cause,
        "snapshot_event": event["id"],
        "related_object": {
            "id": item["id"],
            "type": item["object"],
            "url": f"/v1/{called}s/{item['id']}",
        },
    }
