"""Pay at Stripe's stand-in by the real SDK."""

from typing import Any

import stripe

PAYMENT: dict[str, Any] = {
    "amount": 5000,
    "currency": "gbp",
    "payment_method": "pm_card_visa",
    "confirm": True,
    "off_session": True,
    "metadata": {"org_id": "org_1", "type": "wallet_auto_recharge"},
}
CHECKOUT: dict[str, Any] = {
    "mode": "payment",
    "success_url": "https://example.com/paid",
    "client_reference_id": "org_1",
    "metadata": {"org_id": "org_1"},
    "payment_intent_data": {
        "metadata": {"type": "wallet_topup", "org_id": "org_1", "amount_minor": "2500"},
        "setup_future_usage": "off_session",
    },
    "line_items": [
        {
            "price_data": {
                "currency": "gbp",
                "unit_amount": 2500,
                "product_data": {"name": "Wallet top-up"},
            },
            "quantity": 1,
        }
    ],
}


async def pay(sdk: stripe.StripeClient, key: str | None = None, **changes: Any) -> Any:
    options: Any = {"idempotency_key": key} if key else {}
    params: Any = {name: value for name, value in (PAYMENT | changes).items() if value is not None}
    return await sdk.v1.payment_intents.create_async(params, options)


async def checkout(sdk: stripe.StripeClient, **changes: Any) -> stripe.checkout.Session:
    params: Any = CHECKOUT | changes
    return await sdk.v1.checkout.sessions.create_async(params)


async def events_about(sdk: stripe.StripeClient, payment_id: str) -> list[str]:
    """List the event types about a payment, its charges, refunds and disputes, oldest first."""
    listed = (await sdk.v1.events.list_async({"limit": 100})).data
    shown = [(event.type, event.to_dict()["data"]["object"]) for event in reversed(listed)]
    return [name for name, it in shown if payment_id in (it.get("payment_intent"), it["id"])]
