"""Top-ups by card at Stripe's checkout page: one session, however often it is asked for."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from api.dependencies import FullMember, KeyFirst, StartsWork, Temporal
from api.http.problems import documented
from api.services import Services
from billing.errors import CurrencyMismatch
from billing.ledger.money import Currency, Money
from billing.ledger.wallet import Wallet
from billing.payments.checkout import (
    LARGEST_TOPUP_MINOR,
    SMALLEST_TOPUP_MINOR,
    CheckoutSession,
    NewCheckout,
)
from billing.payments.return_urls import require_allowed
from processes import checkouts
from store.ledger import wallets

router = APIRouter(
    route_class=KeyFirst,
    prefix="/v1/organizations/{org_id}/checkout-sessions",
    tags=["checkout sessions"],
    responses=documented(401, 403, 404, 422, 503),
)

_ReturnUrl = Annotated[
    str, Field(max_length=2000, description="On one of the origins that are allowed")
]


class NewCheckoutSession(BaseModel):
    """A top-up, in minor units of the wallet's currency.

    `save_card` keeps the card for automatic recharges. The URLs are where Stripe sends the customer
    afterwards, `{CHECKOUT_SESSION_ID}` filled in; those of the first request for a session count.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "amount_minor": 5000,
                    "currency": "gbp",
                    "success_url": "https://app.example.com/wallet?paid={CHECKOUT_SESSION_ID}",
                    "cancel_url": "https://app.example.com/wallet",
                    "save_card": True,
                }
            ]
        },
    )

    amount_minor: StrictInt = Field(ge=SMALLEST_TOPUP_MINOR, le=LARGEST_TOPUP_MINOR)
    currency: Currency | None = Field(default=None, description="The wallet's, if it is given")
    success_url: _ReturnUrl
    cancel_url: _ReturnUrl
    save_card: StrictBool = False


async def _wallet(request: Request, org_id: FullMember) -> Wallet:
    """Read the wallet on a connection of its own, so that none is held while Stripe is asked.

    Raise NotFound.
    """
    async with Services.of(request).engine.connect() as connection:
        return await wallets.wallet_of(connection, org_id)


@router.post("", dependencies=[StartsWork], responses=documented(400))
async def open_session(
    request: Request,
    new: NewCheckoutSession,
    wallet: Annotated[Wallet, Depends(_wallet)],
    temporal: Temporal,
) -> CheckoutSession:
    """Open a session, or join the one that is open for this amount: send the customer to `url`.

    The same request gives the same session until it is paid or expired; then, a new one. Another
    amount, or another `save_card`, is another session. While a bank takes days to pay, `status` is
    `processing` and there is no `url`. No `Idempotency-Key` is needed: opening one moves no money.
    """
    if new.currency not in (None, wallet.currency):
        raise CurrencyMismatch(f"the wallet is in {wallet.currency}, not in {new.currency}")
    for url in (new.success_url, new.cancel_url):
        require_allowed(url, Services.of(request).rules.checkout_return_origins)
    wanted = NewCheckout(
        org_id=wallet.org_id,
        amount=Money(new.amount_minor, wallet.currency),
        success_url=new.success_url,
        cancel_url=new.cancel_url,
        save_card=new.save_card,
    )
    return await checkouts.open_checkout(temporal, wanted)
