"""Prices of messages: what a segment costs, to where, from when on, for whom."""

from typing import Any

from fastapi import APIRouter, Depends, Response
from pydantic import ConfigDict, Field

from api.dependencies import Limit, Member, Temporal, Transaction, operator
from api.pages import NAME, After, Page, page
from api.problems import documented
from api.tariff_process import MOST_TOLD, tell_waiting
from api.tariffs import InEffect, NewRate, OfOrganization, Rate, require_wallet_in
from billing.message import message_workflow_id
from billing.sms_tariff import DESTINATION_DIGITS, SmsTariff
from store import sms_tariffs, wallets

router = APIRouter(tags=["tariffs"], responses=documented(401, 403, 422, 503))

_IS_THERE: dict[int | str, dict[str, Any]] = {
    200: {"model": SmsTariff, "description": "It is there already"}
}


class NewSmsTariff(NewRate):
    """A price a segment in minor units of `currency`, to numbers that begin with `prefix`.

    `prefix` is without the plus; empty: to anywhere for which there is no longer one.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "sms_tariff_id": "acme-gbp-44-2026",
                    "org_id": "acme",
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
    prefix: str = Field(default="", pattern=rf"^[0-9]{{0,{DESTINATION_DIGITS}}}$")
    price_minor_per_segment: Rate


@router.post(
    "/v1/sms-tariffs",
    status_code=201,
    dependencies=[Depends(operator)],
    responses=_IS_THERE | documented(400, 404, 409),
)
async def add(
    new: NewSmsTariff, transaction: Transaction, temporal: Temporal, response: Response
) -> SmsTariff:
    """Add a price; messages that waited for one are charged. One that exists never changes.

    It begins in the future, or at a time of which nothing can have been charged, since no price
    was in effect. The same again is answered by 200, and tells the messages that wait again.
    """
    tariff = SmsTariff(**new.model_dump())
    await require_wallet_in(transaction, tariff.org_id, tariff.wallet_currency)
    is_new = await sms_tariffs.add(transaction, tariff)
    found = await sms_tariffs.waiting(transaction, tariff.org_id, tariff.wallet_currency, MOST_TOLD)
    await transaction.commit()
    waiting = ((org_id, message_workflow_id(sid)) for org_id, sid in found)
    await tell_waiting(temporal, tariff.sms_tariff_id, waiting)
    response.status_code = 201 if is_new else 200
    return tariff


@router.get("/v1/sms-tariffs", dependencies=[Depends(operator)])
async def list_all(
    transaction: Transaction,
    org_id: OfOrganization = None,
    in_effect: InEffect = False,
    cursor: After = None,
    limit: Limit = 50,
) -> Page[SmsTariff]:
    """List prices by id, those that begin in the future and those that are over included."""
    found = await sms_tariffs.page(
        transaction, cursor, limit + 1, org_id=org_id, in_effect=in_effect
    )
    return page(found, limit, lambda one: one.sms_tariff_id)


@router.get("/v1/organizations/{org_id}/sms-tariffs", responses=documented(404))
async def list_of_organization(
    org_id: Member,
    transaction: Transaction,
    in_effect: InEffect = False,
    cursor: After = None,
    limit: Limit = 50,
) -> Page[SmsTariff]:
    """List an organisation's prices: its own, which come before the defaults, and the defaults."""
    await wallets.read(transaction, org_id)
    found = await sms_tariffs.page(
        transaction, cursor, limit + 1, org_id=org_id, in_effect=in_effect
    )
    return page(found, limit, lambda one: one.sms_tariff_id)
