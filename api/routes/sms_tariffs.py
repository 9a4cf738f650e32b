"""Prices of messages: what a segment costs, over which channel, to where, since when, for whom."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Response
from pydantic import ConfigDict, Field

from api.dependencies import SEES_ALL, KeyFirst, Limit, Member, Operator, Temporal, Transaction
from api.http.fields import NAME
from api.http.pages import After, Page
from api.http.problems import documented
from api.routes.tariffs import InEffect, NewRate, OfOrganization, Rate, add_price, list_prices
from billing.tariffs.channel import Channel
from billing.tariffs.sms_tariff import DESTINATION_DIGITS, SmsTariff
from store.organizations import organizations
from store.tariffs import sms_tariffs

router = APIRouter(route_class=KeyFirst, tags=["tariffs"], responses=documented(401, 403, 422, 503))

_IS_THERE: dict[int | str, dict[str, Any]] = {
    200: {"model": SmsTariff, "description": "It is there already"}
}


PricedChannel = Literal[Channel.SMS, Channel.MMS, Channel.WHATSAPP, Channel.RCS]
_OfChannel = Annotated[
    PricedChannel | None, Query(alias="channel", description="Only those of this channel")
]


class NewSmsTariff(NewRate):
    """A price a segment in minor units of `currency`, to numbers that begin with `prefix`.

    `prefix` is without the plus; empty: to anywhere for which there is no longer one. It is for one
    `channel`, of which only SMS are cut into segments: another message is one, if Twilio counts
    none.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "sms_tariff_id": "acme-gbp-44-2026",
                    "org_id": "acme",
                    "channel": "sms",
                    "prefix": "44",
                    "currency": "usd",
                    "price_minor_per_segment": "4.5",
                    "fx_rate": "0.79",
                    "wallet_currency": "gbp",
                    "effective_from": "2027-01-01T00:00:00Z",
                }
            ]
        }
    )

    sms_tariff_id: str = Field(pattern=NAME)
    channel: PricedChannel = Field(
        default=Channel.SMS, description="Without it: `sms`, which is all that version 0.1 knew"
    )
    prefix: str = Field(default="", pattern=rf"^[0-9]{{0,{DESTINATION_DIGITS}}}$")
    price_minor_per_segment: Rate


@router.post(
    "/v1/sms-tariffs",
    status_code=201,
    responses=_IS_THERE | documented(400, 404, 409),
)
async def add(
    new: NewSmsTariff,
    key: Operator,
    transaction: Transaction,
    temporal: Temporal,
    response: Response,
) -> SmsTariff:
    """Add a price; messages that waited for one are charged. One that exists never changes.

    It begins in the future, or at a time of which nothing can have been charged, since no price
    was in effect. The first one of WhatsApp or RCS begins in the future, for what was sent before
    it is free. The same again is answered by 200, and tells the messages that wait again.
    """
    tariff = SmsTariff(**new.model_dump())
    response.status_code = await add_price(sms_tariffs, tariff, key, transaction, temporal)
    return tariff


@router.get("/v1/sms-tariffs", dependencies=[Depends(SEES_ALL)])
async def list_all(
    transaction: Transaction,
    *,
    org_id: OfOrganization = None,
    channel: _OfChannel = None,
    in_effect: InEffect = False,
    cursor: After = None,
    limit: Limit = 50,
) -> Page[SmsTariff]:
    """List prices by id, those that begin in the future and those that are over included."""
    return await list_prices(
        sms_tariffs, transaction, cursor, limit, org_id, in_effect=in_effect, channel=channel
    )


@router.get("/v1/organizations/{org_id}/sms-tariffs", responses=documented(404))
async def list_of_organization(
    org_id: Member,
    transaction: Transaction,
    *,
    channel: _OfChannel = None,
    in_effect: InEffect = False,
    cursor: After = None,
    limit: Limit = 50,
) -> Page[SmsTariff]:
    """List an organisation's prices: its own, which come before the defaults, and the defaults."""
    await organizations.read(transaction, org_id)
    return await list_prices(
        sms_tariffs, transaction, cursor, limit, org_id, in_effect=in_effect, channel=channel
    )
