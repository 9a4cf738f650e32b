"""What the platform's people do in Stripe's dashboard, and the payer's bank, by `/_control/…`."""

from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from devstack.providers import stripe_disputes, stripe_refunds
from devstack.providers.control import read
from devstack.providers.storage import JsonObject
from devstack.providers.stripe_account import Account
from devstack.providers.stripe_disputes import Opening, Step
from devstack.providers.stripe_idempotency import Answer

Committed = Callable[[Callable[[], JsonObject]], Answer]
"""Runs a change in a transaction and sends its webhooks."""


class Refunding(BaseModel):
    """A refund by hand: all that is left, unless an amount is named; it may have to wait."""

    model_config = ConfigDict(extra="forbid")

    amount: int | None = Field(default=None, ge=1)
    status: Literal["pending", "requires_action", "succeeded"] = "succeeded"


class RefundOutcome(BaseModel):
    """What became of a refund."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["succeeded", "failed", "canceled"]
    failure_reason: str = "expired_or_canceled_card"


def routes(account: Account, committed: Committed) -> list[BaseRoute]:
    """Build the routes; `committed` is how the app makes a change."""
    people = _People(account, committed)
    intent = "/_control/payment_intents/{id}"
    return [
        Route(intent + "/refunds", people.refund, methods=["POST"]),
        Route("/_control/refunds/{id}", people.end_refund, methods=["POST"]),
        Route(intent + "/disputes", people.dispute, methods=["POST"]),
        Route("/_control/disputes/{id}", people.step, methods=["POST"]),
    ]


class _People:
    """Who gives money back without the platform's code knowing of it."""

    def __init__(self, account: Account, committed: Committed) -> None:
        self._account = account
        self._committed = committed

    async def refund(self, request: Request) -> Response:
        """Refund a payment."""
        how = await read(request, Refunding)
        params = {"amount": how.amount} if how.amount else {}

        def change() -> JsonObject:
            charge = stripe_refunds.refundable(self._account, request.path_params["id"])
            return stripe_refunds.refund(self._account, charge, params, how.status)

        return self._shown(change)

    async def end_refund(self, request: Request) -> Response:
        """Let a refund succeed, fail or be canceled."""
        how = await read(request, RefundOutcome)
        refund = request.path_params["id"]
        return self._shown(
            lambda: stripe_refunds.become(self._account, refund, how.status, how.failure_reason)
        )

    async def dispute(self, request: Request) -> Response:
        """Open a dispute, an inquiry, or one that is prevented."""
        opening = await read(request, Opening)
        intent = request.path_params["id"]
        return self._shown(lambda: stripe_disputes.open_dispute(self._account, intent, opening))

    async def step(self, request: Request) -> Response:
        """Take a dispute to its next status."""
        step = await read(request, Step)
        dispute = request.path_params["id"]
        return self._shown(lambda: stripe_disputes.take(self._account, dispute, step))

    def _shown(self, change: Callable[[], JsonObject]) -> Response:
        answer = self._committed(change)
        return JSONResponse(answer.body, status_code=answer.status)
