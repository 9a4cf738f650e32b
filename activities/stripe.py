"""Read payments from Stripe. An event only says that there is something to look at; this looks."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from stripe import InvalidRequestError, PaymentIntent, RateLimitError, StripeClient
from stripe.checkout import Session
from temporalio import activity

from activities.retry_after import retry_after
from billing.errors import PaymentMissing
from billing.payment import Payment


class StripeActivities:
    """Calls to Stripe, through a client that does not retry: Temporal does, where it is seen."""

    def __init__(self, client: StripeClient) -> None:
        self._client = client

    @activity.defn
    async def fetch_payment(self, payment_id: str) -> Payment:
        """Read a PaymentIntent and its checkout session, if it has one.

        Refuses with PaymentMissing when Stripe does not know it; everything else is a fault.
        """
        try:
            return await self._fetch(payment_id)
        except RateLimitError as limited:
            raise retry_after(limited.headers, str(limited)) from limited
        except InvalidRequestError as invalid:
            if invalid.code == "resource_missing":
                raise PaymentMissing(f"Stripe has no payment {payment_id}") from invalid
            raise

    async def _fetch(self, payment_id: str) -> Payment:
        intents, sessions = self._client.v1.payment_intents, self._client.v1.checkout.sessions
        intent = await intents.retrieve_async(payment_id)
        found = await sessions.list_async({"payment_intent": payment_id, "limit": 1})
        return payment_from(intent, found.data[0] if found.data else None)


def payment_from(intent: PaymentIntent, session: Session | None) -> Payment:
    """Take what matters from Stripe's objects; what the session says fills the intent's gaps."""
    metadata: Mapping[str, Any] = {
        **((session and session.metadata and session.metadata.to_dict()) or {}),
        **((intent.metadata and intent.metadata.to_dict()) or {}),
    }
    return Payment(
        payment_id=intent.id,
        status=intent.status,
        currency=intent.currency,
        received_minor=intent.amount_received,
        created_at=datetime.fromtimestamp(intent.created, UTC),
        type=metadata.get("type"),
        org_id=metadata.get("org_id"),
        session_org_id=session.client_reference_id if session else None,
        expected_minor=_whole(metadata.get("amount_minor"), intent.amount),
    )


def _whole(written: str | None, otherwise: int) -> int | None:
    """Read an amount from metadata, where everything is text; None when it is not an amount."""
    if written is None:
        return otherwise
    return int(written) if written.isascii() and written.isdigit() else None
