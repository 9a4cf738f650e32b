"""What a call or a message would cost. Nothing is charged or stored."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator
from sqlalchemy.ext.asyncio import AsyncConnection

from api.dependencies import KeyFirst, Reader, Transaction, of_own
from api.http.fields import NAME, Moment, Number
from api.http.problems import documented
from api.routes.sms_tariffs import PricedChannel
from billing.ledger.wallet import Wallet
from billing.tariffs.channel import Channel
from billing.tariffs.quote import Quote, quote
from billing.tariffs.sms_tariff import (
    DESTINATION_DIGITS,
    MessageCharge,
    price_message,
    sms_tariff_at,
)
from billing.tariffs.tariff import Charge, rate_call, tariff_at
from store.database import clock
from store.ledger import wallets
from store.tariffs import call_tariffs, sms_tariffs

router = APIRouter(
    route_class=KeyFirst, tags=["tariffs"], responses=documented(400, 401, 403, 404, 422, 503)
)

# One day: at Vapi no call lasts longer.
_LONGEST_SECONDS = 86_400
# Twilio takes messages of 1,600 characters, which in no coding make more segments than this.
_MOST_SEGMENTS = 100


class QuotedMessage(BaseModel):
    """Over which channel, to which number (E.164, or its first digits), in how many segments."""

    model_config = ConfigDict(extra="forbid")

    channel: PricedChannel = Channel.SMS
    destination: str = Field(pattern=r"^\+?[0-9]{1,15}$")
    segments: StrictInt = Field(default=1, ge=1, le=_MOST_SEGMENTS)


class NewQuote(BaseModel):
    """A call of a duration, or a message; `at` a time, or now."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"org_id": "acme", "duration_seconds": "90.5"},
                {
                    "org_id": "acme",
                    "message": {"destination": "+447700900123", "segments": 2},
                    "at": "2026-11-02T12:00:00Z",
                },
            ]
        },
    )

    org_id: str = Field(pattern=NAME)
    duration_seconds: (
        Annotated[
            Decimal,
            Field(ge=0, le=_LONGEST_SECONDS, max_digits=12, decimal_places=6),
            Number,
        ]
        | None
    ) = None
    message: QuotedMessage | None = None
    at: Moment | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.duration_seconds is None) is (self.message is None):
            raise ValueError("give either duration_seconds or message")
        return self


@router.post("/v1/quotes")
async def create(new: NewQuote, key: Reader, transaction: Transaction) -> Quote:
    """Say what it costs by the tariff of that time, how it is computed, and if it can be paid now.

    Without a tariff for it: 422 `no_tariff`.
    """
    org_id = of_own(key, new.org_id)
    wallet = await wallets.wallet_of(transaction, org_id)
    at = new.at or await clock.now(transaction)
    if new.message is not None:
        charge: Charge | MessageCharge = await _message(transaction, wallet, new.message, at)
    else:
        rates = await call_tariffs.for_organizations(transaction, [org_id])
        tariff = tariff_at(rates, org_id, wallet.currency, at)
        charge = rate_call(tariff, new.duration_seconds or Decimal(0))
    return quote(wallet, charge, at)


async def _message(
    connection: AsyncConnection, wallet: Wallet, message: QuotedMessage, at: datetime
) -> MessageCharge:
    destination = message.destination.removeprefix("+")[:DESTINATION_DIGITS]
    prices = await sms_tariffs.for_organizations(connection, [wallet.org_id])
    whose = (wallet.org_id, wallet.currency)
    tariff = sms_tariff_at(prices, *whose, destination, at, channel=message.channel)
    return price_message(tariff, message.segments)
