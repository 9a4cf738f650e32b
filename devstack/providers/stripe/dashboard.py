"""Refunds by hand in Stripe's dashboard, and disputes of the payer's bank (`/_control/…`)."""

from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from stripe.params import PaymentIntentUpdateParams

from devstack.providers.control import read
from devstack.providers.storage import JsonObject
from devstack.providers.stripe import disputes, payments, refunds
from devstack.providers.stripe.account import Account
from devstack.providers.stripe.disputes import Opening, Step
from devstack.providers.stripe.idempotency import Answer
from devstack.providers.stripe.params import validate

Committed = Callable[[Callable[[], JsonObject]], Answer]
"""Commits a change, and sends its webhooks."""


class Refunding(BaseModel):
    """A refund by hand: of all that is left, unless an amount is named. It may have to wait."""

    model_config = ConfigDict(extra="forbid")

    amount: int | None = Field(default=None, ge=1)
    status: Literal["pending", "requires_action", "succeeded"] = "succeeded"


class RefundOutcome(BaseModel):
    """What became of a refund."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["succeeded", "failed", "canceled"]
    failure_reason: str = "expired_or_canceled_card"


class Edit(BaseModel):
    """What is edited of a payment: metadata is merged, and an empty value removes a key."""

    model_config = ConfigDict(extra="forbid")

    metadata: dict[str, str] = Field(default_factory=dict)
    customer: str | None = None


def routes(account: Account, committed: Committed) -> list[BaseRoute]:
    """Build the routes; `committed` makes a change."""
    people = _People(account, committed)
    intent = "/_control/payment_intents/{id}"
    return [
        Route(intent, people.edit, methods=["POST"]),
        Route(intent + "/refunds", people.refund, methods=["POST"]),
        Route("/_control/refunds/{id}", people.end_refund, methods=["POST"]),
        Route(intent + "/disputes", people.dispute, methods=["POST"]),
        Route("/_control/disputes/{id}", people.step, methods=["POST"]),
    ]


class _People:
    """Who edits payments and gives money back without the platform's code: people and banks."""

    def __init__(self, account: Account, committed: Committed) -> None:
        self._account = account
        self._committed = committed

    async def edit(self, request: Request) -> Response:
        """Edit a payment, whatever its status. Stripe makes no event of that."""
        asked = await read(request, Edit)
        params = validate(PaymentIntentUpdateParams, asked.model_dump(exclude_none=True))
        intent = request.path_params["id"]
        return self._shown(lambda: payments.update(self._account, intent, params))

    async def refund(self, request: Request) -> Response:
        """Refund a payment."""
        how = await read(request, Refunding)
        params = {"amount": how.amount} if how.amount else {}

        def change() -> JsonObject:
            charge = refunds.refundable(self._account, request.path_params["id"])
            return refunds.refund(self._account, charge, params, how.status)

        return self._shown(change)

    async def end_refund(self, request: Request) -> Response:
        """Let a refund succeed, fail or be canceled."""
        how = await read(request, RefundOutcome)
        refund = request.path_params["id"]
        return self._shown(
            lambda: refunds.become(self._account, refund, how.status, how.failure_reason)
        )

    async def dispute(self, request: Request) -> Response:
        """Open a dispute, an inquiry, or one that is prevented."""
        opening = await read(request, Opening)
        intent = request.path_params["id"]
        return self._shown(lambda: disputes.open_dispute(self._account, intent, opening))

    async def step(self, request: Request) -> Response:
        """Take a dispute to its next status."""
        step = await read(request, Step)
        dispute = request.path_params["id"]
        return self._shown(lambda: disputes.take(self._account, dispute, step))

    def _shown(self, change: Callable[[], JsonObject]) -> Response:
        answer = self._committed(change)
        return JSONResponse(answer.body, status_code=answer.status)
