"""Sign the body of a webhook as Stripe does."""

import time

import stripe


def signed(body: bytes, secret: str, timestamp: int | None = None) -> dict[str, str]:
    """Return a signed webhook's headers. `timestamp` is seconds since 1970, now if None.

    The SDK's own function signs, so the signature cannot differ from what the SDK verifies.
    """
    seconds = int(time.time()) if timestamp is None else timestamp
    signature = stripe.WebhookSignature.generate_signature_header(body.decode(), secret, seconds)
    return {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": signature}
