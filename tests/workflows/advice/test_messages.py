"""Every reason for which a message waits: what its page advises is done, and settles it."""

import uuid
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import pytest
from pydantic import TypeAdapter
from sqlalchemy import insert, text

from billing.messages.message import MessageState
from billing.tariffs.channel import Channel
from billing.tariffs.sms_tariff import SmsTariff
from store.schema import sms_tariffs
from tests.support.advice import Advice, advice
from tests.support.api_server import Api
from tests.support.channels import price_of
from tests.support.factories import a_sender, a_sid, an_organization, balance_of, keys_of, unique
from tests.support.messages import Handle, a_message, report_statuses
from tests.support.parked_workflows import ended, until_parked
from tests.support.recharged_payers import settle
from tests.support.stand_ins import StripeStandIn, TwilioStandIn
from tests.workflows.conftest import World

PAID, PENCE = 1000, 5
REGISTER = "POST /v1/organizations/{org_id}/senders"
# Longer than it takes until a reason that goes away by itself is looked at again.
A_WHILE = timedelta(hours=2)


async def parked(api: Api, sid: str, reason: str) -> tuple[Handle, Advice]:
    handle = await report_statuses(api.temporal, sid, "delivered")
    await until_parked(handle, reason)
    return handle, await advice(api, handle)


async def sent(api: Api, twilio: TwilioStandIn, **how: Any) -> tuple[str, str]:
    """A message of one segment of an organisation that can pay it."""
    org_id = await an_organization(api.engine, PAID)
    sid = await a_message(twilio, await a_sender(api.engine, org_id), "delivered", **how)
    return org_id, sid


async def is_paid(api: Api, handle: Handle, org_id: str, left: int = PAID - PENCE) -> None:
    """The process ends, and the entry is explained: whose it is, and which process made it."""
    bill = await ended(handle)
    assert (bill.state, bill.org_id) == (MessageState.CHARGED, org_id)
    assert await balance_of(api.engine, org_id) == left
    told = await api.operator.get(f"/v1/entries/sms:{bill.sid}")
    explained = told.raise_for_status().json()
    assert explained["entry"]["org_id"] == org_id
    assert explained["subject"]["workflow_id"] == handle.id


async def is_given_up(api: Api, handle: Handle, org_id: str, sid: str) -> None:
    """The process ends, and whatever is heard of the message later costs nothing."""
    assert (await ended(handle)).state is MessageState.DISCARDED
    again = await report_statuses(api.temporal, sid, "delivered")
    assert (await ended(again)).state is MessageState.DISCARDED
    assert await keys_of(api.engine, org_id) == []


# ---- debt_limit


async def over_the_limit(api: Api, twilio: TwilioStandIn) -> tuple[str, Handle, Advice]:
    org_id = await an_organization(api.engine, debt_limit_minor=0)
    sid = await a_message(twilio, await a_sender(api.engine, org_id), "delivered")
    return org_id, *await parked(api, sid, "debt_limit")


async def test_debt_limit_the_customer_tops_up(
    api: Api, twilio: TwilioStandIn, stripe: StripeStandIn
) -> None:
    org_id, handle, told = await over_the_limit(api, twilio)
    assert told.to_do.startswith("Nothing, if the customer tops up")
    await settle(api.temporal, await stripe.payment(org_id, PAID))
    await is_paid(api, handle, org_id)


async def test_debt_limit_it_is_raised(api: Api, twilio: TwilioStandIn) -> None:
    org_id, handle, told = await over_the_limit(api, twilio)
    limit = {"debt_limit_minor": PENCE}
    await told.request("PUT /v1/organizations/{org_id}/debt-limit", limit, org_id=org_id)
    await is_paid(api, handle, org_id, -PENCE)


# ---- unknown_sender


@pytest.mark.parametrize("which", ["phone_number", "messaging_service_sid"])
async def test_unknown_sender_the_number_or_its_service_is_registered(
    api: Api, twilio: TwilioStandIn, which: str
) -> None:
    org_id = await an_organization(api.engine, PAID)
    number, service = f"+1{uuid.uuid4().int % 10**10:010}", f"MG{uuid.uuid4().hex}"
    names = {"phone_number": number, "messaging_service_sid": service}
    sid = await a_message(twilio, number, "delivered", messaging_service_sid=service)
    handle, told = await parked(api, sid, "unknown_sender")
    await told.request(REGISTER, {which: names[which]}, org_id=org_id)
    await is_paid(api, handle, org_id)


# ---- no_tariff


async def test_no_tariff_a_price_for_where_and_when_it_was_sent_is_added(
    api: Api, twilio: TwilioStandIn
) -> None:
    """Of an installation in which nobody has set prices: the defaults are taken out."""
    org_id, sid = await sent(api, twilio)
    async with api.engine.begin() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        await connection.execute(text("DELETE FROM sms_tariffs"))
    handle, told = await parked(api, sid, "no_tariff")
    price = {
        "sms_tariff_id": unique("price"),
        "prefix": "",
        "currency": "usd",
        "price_minor_per_segment": "6",
        "fx_rate": "0.79",
        "wallet_currency": "gbp",
        "effective_from": "2020-01-01T00:00:00Z",
    }
    await told.request("POST /v1/sms-tariffs", price)
    await is_paid(api, handle, org_id)


async def test_no_tariff_a_price_of_its_channel_is_added(api: Api, twilio: TwilioStandIn) -> None:
    """WhatsApp has a price by now, but not to there: the default is taken out."""
    org_id = await an_organization(api.engine, PAID)
    price = price_of(Channel.WHATSAPP, "7", org_id, prefix="1")
    async with api.engine.begin() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        await connection.execute(text("DELETE FROM sms_tariffs WHERE channel = 'whatsapp'"))
        await connection.execute(insert(sms_tariffs).values(asdict(price)))
    sender = f"whatsapp:{await a_sender(api.engine, org_id)}"
    handle, told = await parked(api, await a_message(twilio, sender, "delivered"), "no_tariff")
    added = price_of(Channel.WHATSAPP, str(PENCE), org_id)
    body = TypeAdapter(SmsTariff).dump_python(added, mode="json")
    await told.request("POST /v1/sms-tariffs", body)
    await is_paid(api, handle, org_id)


# ---- unknown_channel


async def over_messenger(api: Api, twilio: TwilioStandIn) -> tuple[str, str, Handle, Advice]:
    org_id = await an_organization(api.engine, PAID)
    sid = await a_message(twilio, "messenger:1234567890", "delivered", to="messenger:987654321")
    return org_id, sid, *await parked(api, sid, "unknown_channel")


async def test_unknown_channel_the_customer_is_not_to_pay(api: Api, twilio: TwilioStandIn) -> None:
    org_id, sid, handle, told = await over_messenger(api, twilio)
    await told.command("discard")
    await is_given_up(api, handle, org_id, sid)


async def test_unknown_channel_the_customer_is_to_pay(api: Api, twilio: TwilioStandIn) -> None:
    org_id, sid, handle, told = await over_messenger(api, twilio)
    request = "POST /v1/organizations/{org_id}/adjustments"
    assert request in told.to_do
    taken = {"direction": "debit", "amount_minor": PENCE, "currency": "gbp", "reason": sid}
    path, key = request.partition(" ")[2].format(org_id=org_id), {"Idempotency-Key": sid}
    (await api.operator.post(path, json=taken, headers=key)).raise_for_status()
    await told.command("discard")
    assert (await ended(handle)).state is MessageState.DISCARDED
    assert await balance_of(api.engine, org_id) == PAID - PENCE


# ---- unknown_segments


async def test_unknown_segments_it_is_asked_for_again_by_itself(
    world: World, api: Api, twilio: TwilioStandIn
) -> None:
    org_id, sid = await sent(api, twilio, segments=0)
    handle, told = await parked(api, sid, "unknown_segments")
    assert "asked for again by itself" in told.to_do
    await twilio.becomes(sid, "delivered", segments=1, drop=True)
    await world.let_pass(handle, A_WHILE)
    await is_paid(api, handle, org_id)


async def test_unknown_segments_it_was_never_sent(api: Api, twilio: TwilioStandIn) -> None:
    org_id, sid = await sent(api, twilio, segments=0)
    handle, told = await parked(api, sid, "unknown_segments")
    await told.command("discard")
    await is_given_up(api, handle, org_id, sid)


# ---- message_missing, fault


async def test_message_missing_the_account_is_known_now(api: Api, twilio: TwilioStandIn) -> None:
    org_id, sid = await an_organization(api.engine, PAID), a_sid()
    handle, told = await parked(api, sid, "message_missing")
    await a_message(twilio, await a_sender(api.engine, org_id), "delivered", sid=sid)
    await told.command("reprocess")
    await is_paid(api, handle, org_id)


async def test_message_missing_it_was_deleted_at_twilio(api: Api) -> None:
    org_id, sid = await an_organization(api.engine, PAID), a_sid()
    handle, told = await parked(api, sid, "message_missing")
    await told.command("discard")
    await is_given_up(api, handle, org_id, sid)


@pytest.mark.parametrize("how", ["reprocess", "by itself"])
async def test_fault_the_cause_is_mended(
    world: World, api: Api, twilio: TwilioStandIn, how: str
) -> None:
    org_id, sid = await sent(api, twilio)
    await twilio.misbehave(sid, kind="status", status=500, times=3)
    handle, told = await parked(api, sid, "fault")
    if how == "reprocess":
        await told.command("reprocess")
    else:
        await world.let_pass(handle, A_WHILE)
    await is_paid(api, handle, org_id)
