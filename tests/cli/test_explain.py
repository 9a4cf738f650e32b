"""`callwallet explain`, typed by a person."""

import json
from dataclasses import replace
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncEngine

from billing.messages.message import MessageFacts, MessageStatus, SeenMessage
from billing.tariffs.channel import Channel
from devstack.providers.twilio.messages import ACCOUNT_SID
from devstack.stack import Stack
from store.calls import calls
from store.messages import messages
from tests.support.command_line import callwallet
from tests.support.factories import NOON, a_sender, a_sid, an_assistant, an_organization, ended_call


async def test_a_charge_is_explained_line_by_line(stack: Stack, engine: AsyncEngine) -> None:
    env = stack.settings()
    org_id = await an_organization(engine, 1000)
    call = ended_call(await an_assistant(engine, org_id), 61)
    call = replace(call, provider_cost_usd=Decimal("0.1075"))
    async with engine.begin() as connection:
        await calls.charge(connection, [call])
    key = f"call:{call.call_id}"
    ended = await callwallet(env, "explain", key)
    assert ended.status == 0, ended.said
    assert f"0.57 GBP from wallet:{org_id} to usage:calls" in ended.output
    assert "61 s = 0.72 USD, charged as 0.57 GBP (default-gbp-2020)" in ended.output
    assert "70 USD minor units a minute, by 1 s, converted at 0.79" in ended.output
    assert "customer-ended-call" in ended.output
    assert "0.1075 USD" in ended.output
    flat = ended.output.replace("\n", "").replace(" ", "")
    assert f"{env['TEMPORAL_UI_URL']}/namespaces/billing/workflows/call%2F{call.call_id}" in flat

    as_json = await callwallet(env, "explain", key, "--json")
    assert json.loads(as_json.output)["entry"]["key"] == key


async def test_a_charge_for_a_message_says_what_it_went_over(
    stack: Stack, engine: AsyncEngine
) -> None:
    org_id, sid = await an_organization(engine, 1000), f"MM{a_sid()[2:]}"
    facts = MessageFacts(NOON, 1, "447700", await a_sender(engine, org_id), None, Channel.MMS)
    async with engine.begin() as connection:
        await messages.observe(connection, [SeenMessage(sid, ACCOUNT_SID, MessageStatus.SENT)])
        await messages.keep_facts(connection, {sid: facts})
        await messages.settle(connection, [sid], reverse_undelivered=True)
    ended = await callwallet(stack.settings(), "explain", f"sms:{sid}", "--json")
    told = json.loads(ended.output)
    assert (told["message"]["channel"], told["sms_tariff"]["channel"]) == ("mms", "mms")
    assert "1 x 6 USD minor units by mms to 44 at 0.79" in told["entry"]["note"]
    shown = await callwallet(stack.settings(), "explain", f"sms:{sid}")
    assert "went by        mms" in shown.output


async def test_an_entry_that_is_not_there_is_said_so(stack: Stack, engine: AsyncEngine) -> None:
    ended = await callwallet(stack.settings(), "explain", "call:never")
    assert (ended.status, ended.output) == (2, "")
    assert "the ledger has no entry call:never." in ended.said
