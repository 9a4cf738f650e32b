"""Twilio's status callbacks: signed by account and sub-account, each status of a message once."""

import asyncio
from collections import Counter
from urllib.parse import urlencode

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from billing.inbox.webhook_event import EventStatus, Source, WebhookEvent
from devstack.providers.twilio.messages import ACCOUNT_SID
from tests.support.answers import accepted, balance, eventually, expect_refusal, problem
from tests.support.api_server import FLOODED, Api, serving
from tests.support.factories import a_sender, a_sid, an_organization, keys_of
from tests.support.inbox_events import accept
from tests.support.signed_webhooks import Webhook
from tests.support.stand_ins import TwilioStandIn
from tests.support.twilio_callbacks import (
    FORM,
    MAIN,
    NEW,
    OLD,
    PUBLIC_BASE_URL,
    STAND_IN_TOKEN,
    SUB,
    SUBS,
    URL,
    callback,
    sid_of,
    signed,
)


@pytest.mark.parametrize(("account", "token"), [(MAIN, NEW), (MAIN, OLD), (SUB, SUBS)])
async def test_any_live_token_of_its_account_signs(api: Api, account: str, token: str) -> None:
    webhook = callback(account_sid=account, token=token)
    answer = await api.send(webhook)
    assert answer.json() == {"status": "accepted", "event": webhook.key}
    row = await api.event(webhook.key)
    assert (row.source, row.type, row.subject) == ("twilio", "sent", sid_of(webhook))
    assert row.status == "waiting"
    assert row.body.encode() == webhook.body
    assert row.facts == {
        "sid": sid_of(webhook), "account_sid": account, "status": "sent", "key": webhook.key,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("account", "token"),
    [(MAIN, SUBS), (SUB, NEW), (MAIN, "nobody's"), ("AC" + "9" * 32, NEW), ("", NEW)],
)
async def test_no_token_signs_for_another_account(api: Api, account: str, token: str) -> None:
    await expect_refusal(api, callback(account_sid=account, token=token), 401, "unauthorized")


@pytest.mark.parametrize("signature", [None, "", "AAAA", "\u00e9".encode().decode("latin-1")])
async def test_an_unsigned_callback_is_turned_away(api: Api, signature: str | None) -> None:
    await expect_refusal(api, callback().but(x_twilio_signature=signature), 401, "unauthorized")


async def test_a_changed_callback_is_turned_away(api: Api) -> None:
    webhook = callback("failed")
    changed = Webhook("twilio", callback("delivered").body, webhook.headers)
    await expect_refusal(api, changed, 401, "unauthorized")


async def test_the_url_is_the_configured_one_whatever_the_request_says(api: Api) -> None:
    elsewhere = callback(url=URL.replace(PUBLIC_BASE_URL, "https://evil.example.com"))
    forged = {"host": "evil.example.com", "x_forwarded_host": "evil.example.com"}
    await expect_refusal(api, elsewhere.but(**forged), 401, "unauthorized")
    assert accepted(await api.send(callback().but(x_forwarded_host="evil.example.com")))


async def test_the_query_is_signed_too(api: Api) -> None:
    query = "?tenant=a%20b&x=%2B"
    webhook = callback(url=URL + query)
    path = "/webhooks/twilio/sms-status"

    async def post(to: str) -> int:
        content, headers = webhook.body, dict(webhook.headers)
        return (await api.anonymous.post(to, content=content, headers=headers)).status_code

    assert await post(path) == 401
    assert await post(path + "?tenant=a%20b") == 401
    assert await post(path + query) == 200


async def test_unknown_repeated_and_empty_parameters_are_taken(api: Api) -> None:
    more = [("MediaUrl", "b"), ("MediaUrl", "a"), ("NewIn2027", "\U0001f600 &=+%"), ("Empty", "")]
    webhook = callback(more=more)
    assert accepted(await api.send(webhook)) == "accepted"
    assert (await api.event(webhook.key)).body.encode() == webhook.body


async def test_a_replayed_callback_is_a_duplicate_and_a_later_status_is_not(api: Api) -> None:
    sid = a_sid()
    sent, delivered = callback("sent", sid), callback("delivered", sid)
    answers = [accepted(await api.send(one)) for one in (delivered, sent, sent, delivered)]
    assert answers == ["accepted", "accepted", "duplicate", "duplicate"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"MessageStatus": "received"},
        {"MessageStatus": "never-heard-of"},
        {"MessageSid": "SM1"},
    ],
)
async def test_what_is_about_no_outgoing_message_is_recorded_as_ignored(
    api: Api, parameters: dict[str, str]
) -> None:
    named = {
        "MessageSid": a_sid(),
        "AccountSid": MAIN,
        "MessageStatus": "sent",
        "To": "+447700900123",
        **parameters,
    }
    answer = await api.send(signed(named.items()))
    assert accepted(answer) == "ignored"
    assert (await api.event(answer.json()["event"])).status == "ignored"


async def test_a_callback_that_was_ignored_does_not_stand_in_the_way_of_one_that_counts(
    api: Api,
) -> None:
    """As version 0.1 has ignored what went over WhatsApp."""
    webhook = callback("sent", more=[("ChannelPrefix", "whatsapp")])
    sid = sid_of(webhook)
    ignored = WebhookEvent(Source.TWILIO, webhook.key, "sent", sid, "", status=EventStatus.IGNORED)
    await accept(api.engine, ignored)
    assert accepted(await api.send(webhook)) == "accepted"
    facts = (await api.event(webhook.key)).facts
    assert (facts["sid"], facts["channel"]) == (sid, "whatsapp")
    await accept(api.engine, ignored)
    assert (await api.event(webhook.key)).status == "waiting"


@pytest.mark.parametrize(
    ("channel", "named"), [("whatsapp", "whatsapp"), ("rcs", "rcs"), ("messenger", "other")]
)
async def test_a_callback_over_any_channel_is_taken_with_what_it_says_of_it(
    api: Api, channel: str, named: str
) -> None:
    """As Twilio sends them: a channel's name in three fields, and a masked number."""
    sid = a_sid()
    parameters = {
        "SmsSid": sid, "SmsStatus": "sent", "MessageStatus": "sent", "MessageSid": sid,
        "ChannelToAddress": "+44770090XXXX", "To": f"{channel}:+447700900123",
        "ChannelPrefix": channel, "AccountSid": MAIN, "StructuredMessage": "false",
        "From": f"{channel}:+14155238886", "ApiVersion": "2010-04-01",
        "ChannelInstallSid": "XE" + "c" * 32,
    }  # fmt: skip
    webhook = signed(parameters.items(), key=f"{sid}:sent")
    assert accepted(await api.send(webhook)) == "accepted"
    facts = (await api.event(webhook.key)).facts
    assert facts == {
        "sid": sid, "account_sid": MAIN, "status": "sent", "key": webhook.key, "channel": named,
    }  # fmt: skip


@pytest.mark.parametrize(
    "parameters",
    [
        [],
        [("MessageSid", "SM1")],
        [("MessageStatus", "sent")],
        [("MessageSid", "SM1"), ("MessageSid", "SM2"), ("MessageStatus", "sent")],
        [("MessageSid", "SM\0"), ("MessageStatus", "sent")],
        [("MessageSid", "S" * 101), ("MessageStatus", "sent")],
        [("MessageSid", "SM 1"), ("MessageStatus", "sent")],
    ],
)
async def test_a_callback_needs_one_usable_message_and_status(
    api: Api, parameters: list[tuple[str, str]]
) -> None:
    webhook = signed([("AccountSid", MAIN), *parameters])
    await expect_refusal(api, webhook, 400, "malformed")


@pytest.mark.parametrize(
    "body",
    [
        b"\xff",
        b"a=%ff",
        b"a=\0&From=%2B15017122661",
        b"a=%00",
        b"%00=a",
        b"&".join(b"n%d=" % number for number in range(300)),
    ],
)
async def test_a_form_that_cannot_be_read_is_malformed(api: Api, body: bytes) -> None:
    await expect_refusal(api, Webhook("twilio", body, {"content-type": FORM}), 400, "malformed")


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data", "text/plain"])
async def test_another_media_type_is_turned_away(api: Api, content_type: str) -> None:
    webhook = callback().but(content_type=content_type)
    await expect_refusal(api, webhook, 415, "unsupported_media_type")


async def test_a_body_that_is_too_large_is_turned_away(api: Api) -> None:
    webhook = Webhook("twilio", b"a=" + b"b" * 1024 * 1024, {"content-type": FORM})
    await expect_refusal(api, webhook, 413, "too_large")


async def test_without_tokens_every_callback_is_turned_away(api: Api) -> None:
    body = urlencode({"AccountSid": "AC" + "3" * 32, "MessageSid": a_sid()}).encode()
    headers = {"content-type": FORM, "x-twilio-signature": "AAAA"}
    problem(await api.send(Webhook("twilio", body, headers)), 401, "unauthorized")


async def test_of_many_at_once_each_status_is_accepted_once(api: Api) -> None:
    sid = a_sid()
    many = [callback(status, sid) for status in ("queued", "sent", "delivered") * 10]
    answers = await asyncio.gather(*(api.send(one) for one in many))
    assert Counter(map(accepted, answers)) == {"accepted": 3, "duplicate": 27}


def from_twilio(status: str, sid: str) -> Webhook:
    """Signed by the account whose messages the stand-in has."""
    return callback(status, sid, account_sid=ACCOUNT_SID, token=STAND_IN_TOKEN)


async def test_in_a_drizzle_a_message_has_a_workflow_of_its_own(
    working_api: Api, twilio: TwilioStandIn
) -> None:
    api = working_api
    org_id = await an_organization(api.engine, 1000)
    sid = await twilio.sends(await a_sender(api.engine, org_id), status="delivered")
    webhooks = [from_twilio(status, sid) for status in ("delivered", "sent")]
    for webhook in webhooks:
        assert accepted(await api.send(webhook)) == "accepted"

    async def is_charged() -> bool:
        return await keys_of(api.engine, org_id) == [f"sms:{sid}"]

    await eventually(is_charged)
    await eventually(lambda: are_handled(api, *webhooks))
    assert await balance(api, org_id) == 1000 - 5
    assert (await api.temporal.get_workflow_handle(f"sms/{sid}").describe()).run_id


async def test_a_flood_is_settled_in_batches_without_workflows_of_their_own(
    engine: AsyncEngine, worker: Client, twilio: TwilioStandIn
) -> None:
    org_id = await an_organization(engine, 1000)
    sender = await a_sender(engine, org_id)
    sids = await twilio.send_many(10, sender, status="delivered")
    flood = [from_twilio(status, sid) for sid in sids for status in ("sent", "delivered")]
    async with serving(engine, worker, rules=FLOODED) as api:
        answers = await asyncio.gather(*(api.send(one) for one in flood))
        assert {accepted(answer) for answer in answers} == {"accepted"}
        await eventually(lambda: are_handled(api, *flood))
        assert sorted(await keys_of(engine, org_id)) == sorted(f"sms:{sid}" for sid in sids)
        read = (await api.operator.get(f"/v1/messages/{sids[0]}")).json()
        assert (read["state"], read["workflow_id"]) == ("charged", "inbox/messages")
    with pytest.raises(RPCError) as absent:
        await worker.get_workflow_handle(f"sms/{sids[0]}").describe()
    assert absent.value.status is RPCStatusCode.NOT_FOUND


async def are_handled(api: Api, *webhooks: Webhook) -> bool:
    rows = [await api.event(webhook.key) for webhook in webhooks]
    return all(row is not None and row.status == "handled" for row in rows)
