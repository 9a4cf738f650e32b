"""A customer at Stripe's checkout page, and control over the stand-in's webhooks and faults."""

import json
import secrets
from collections import Counter
from dataclasses import dataclass
from typing import Any

import httpx

from devstack.demo.platform import Tenant

# The events of a payment that make callwallet look. The others are recorded and ignored.
HINTS = ("payment_intent.succeeded", "checkout.session.completed")


@dataclass(frozen=True)
class Customer:
    """A customer who pays. `stripe` has the stand-in's address and the platform's secret key."""

    stripe: httpx.AsyncClient

    async def tops_up(self, tenant: Tenant, amount_minor: int) -> str:
        """Pay a new checkout session by card; return the payment's id."""
        session_id = await self._open_checkout(tenant, amount_minor)
        path = f"/_control/checkout/sessions/{session_id}/complete"
        paid = (await self.stripe.post(path, json={})).raise_for_status()
        return str(paid.json()["payment_intent"])

    async def _open_checkout(self, tenant: Tenant, amount_minor: int) -> str:
        """Create the session as the platform does, with everything that names the wallet."""
        names = {
            "type": "wallet_topup",
            "org_id": tenant.org_id,
            "amount_minor": str(amount_minor),
        }
        form = {
            "mode": "payment",
            "success_url": "https://platform.example/paid",
            "client_reference_id": tenant.org_id,
            "line_items[0][quantity]": "1",
            "line_items[0][price_data][currency]": tenant.currency.value,
            "line_items[0][price_data][unit_amount]": str(amount_minor),
            "line_items[0][price_data][product_data][name]": f"Top-up for {tenant.name}",
            **{f"metadata[{name}]": value for name, value in names.items()},
            **{f"payment_intent_data[metadata][{name}]": value for name, value in names.items()},
        }
        key = {"Idempotency-Key": f"demo-{secrets.token_hex(8)}"}
        made = await self.stripe.post("/v1/checkout/sessions", data=form, headers=key)
        return str(made.raise_for_status().json()["id"])

    async def webhooks_travel(self, **policy: Any) -> None:
        """Change how Stripe's events are sent: `copies`, `reverse`, `paused`."""
        (await self.stripe.post("/_control/deliveries", json=policy)).raise_for_status()

    async def reading_fails(self, payment_id: str, **fault: Any) -> None:
        """Make reads of this payment fail."""
        wanted = {"method": "GET", "path": f"/v1/payment_intents/{payment_id}", **fault}
        (await self.stripe.post("/_control/faults", json=wanted)).raise_for_status()

    async def failures(self, payment_id: str) -> tuple[int, ...]:
        """Return the statuses with which reads of this payment have failed, in order."""
        answer = (await self.stripe.get("/_control/faults")).raise_for_status()
        return tuple(
            fault["status"]
            for fault in answer.json()["faults"]
            if fault["path"].endswith(payment_id) and fault["hits"]
        )

    async def answers(self, payment_ids: list[str]) -> Counter[str]:
        """Count callwallet's answers to the events that say that one of these was paid."""
        answer = (await self.stripe.get("/_control/deliveries")).raise_for_status()
        return Counter(
            json.loads(one["last_answer"])["status"]
            for one in answer.json()["deliveries"]
            if one["state"] == "delivered" and one["type"] in HINTS
            if any(payment_id in one["body"] for payment_id in payment_ids)
        )
