"""The Twilio stand-in, held against Twilio's own library: its reads, errors and signatures."""

import asyncio
import inspect
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.http import HttpClient
from twilio.http.response import Response
from twilio.request_validator import RequestValidator
from twilio.rest import Client
from twilio.rest.api.v2010.account.message import MessageInstance

from devstack.providers.twilio.messages import ACCOUNT_SID, FORM, STATUSES
from tests.support.stand_in_process import Receiver, StandIns, Webhook, receiving, running
from tests.support.twilio_callbacks import Repeated

TOKEN = "stand_in"


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StandIns]:
    async with running(tmp_path_factory.mktemp("twilio") / "state.db") as stand_ins:
        yield stand_ins


@pytest.fixture
async def stand_ins(world: StandIns) -> AsyncIterator[StandIns]:
    yield world
    await world.reset()


@pytest.fixture
async def receiver(stand_ins: StandIns) -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        await stand_ins.control("twilio", "deliveries", {"url": receiver.url})
        yield receiver


class Here(HttpClient):  # type: ignore[misc]  # the library has no types
    """Sends what Twilio's library asks for to the stand-in."""

    def __init__(self, url: str) -> None:
        super().__init__(None, False, None)
        self._url = url

    def request(self, method: str, uri: str, **how: Any) -> Response:
        path = uri.removeprefix("https://api.twilio.com")
        answer = httpx.request(method, self._url + path, auth=how["auth"], trust_env=False)
        return Response(answer.status_code, answer.text)


async def fetch(stand_ins: StandIns, sid: str, token: str = TOKEN) -> MessageInstance:
    """Read a message with Twilio's own library."""
    client = Client(ACCOUNT_SID, token, http_client=Here(stand_ins.urls["twilio"]))
    return await asyncio.to_thread(client.messages(sid).fetch)


async def create(stand_ins: StandIns, **message: Any) -> str:
    made = await stand_ins.control("twilio", "messages", message)
    return str(made["sids"][0])


async def move(stand_ins: StandIns, sid: str, status: str, **how: Any) -> None:
    await stand_ins.control("twilio", f"messages/{sid}/status", {"status": status, **how})


def parameters(webhook: Webhook) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(webhook.body.decode()).items()}


async def test_a_sent_message_has_its_segments_and_price_as_texts(stand_ins: StandIns) -> None:
    sid = await create(stand_ins, **{"from": "+15017122661"}, segments=3)
    await move(stand_ins, sid, "sent")
    message = await fetch(stand_ins, sid)
    assert (message.sid, message.account_sid, message.status) == (sid, ACCOUNT_SID, "sent")
    assert (message.num_segments, message.price, message.price_unit) == ("3", "-0.02370", "USD")
    assert (message.from_, message.to) == ("+15017122661", "+447700900123")
    assert message.date_sent.tzinfo is not None
    assert message.error_code is None


async def test_every_field_is_one_that_twilios_library_knows(stand_ins: StandIns) -> None:
    sid = await create(stand_ins)
    path = f"/2010-04-01/Accounts/{ACCOUNT_SID}/Messages/{sid}.json"
    shown = (await stand_ins.twilio.get(path, auth=(ACCOUNT_SID, TOKEN))).json()
    known = {name.rstrip("_") for name in vars(await fetch(stand_ins, sid))}
    assert shown.keys() <= known
    assert set(STATUSES) <= set(vars(MessageInstance.Status).values())


# By the type that the library gives a field (twilio 9.13, `MessageInstance`); JSON has no times.
WIRE = {"datetime": str, "str": str, "int": int, "Dict[str, object]": dict}


@pytest.mark.parametrize("status", STATUSES)
async def test_every_field_has_the_type_that_twilios_library_reads_and_none_is_left_out(
    stand_ins: StandIns, status: str
) -> None:
    """Twilio's API names all fields, also those that are null; its callbacks leave those out."""
    declared = {
        name.rstrip("_"): re.sub(r"Optional\[(.*)\]", r"\1", hint)
        for name, hint in re.findall(
            r"self\.([a-z_]+): (\S.*?) = ", inspect.getsource(MessageInstance.__init__)
        )
        if not name.startswith("_")
    }
    assert {"price", "num_segments", "subresource_uris"} < declared.keys()
    sid = await create(stand_ins, status=status, **{"from": "+15017122661"})
    path = f"/2010-04-01/Accounts/{ACCOUNT_SID}/Messages/{sid}.json"
    shown = (await stand_ins.twilio.get(path, auth=(ACCOUNT_SID, TOKEN))).json()
    assert shown.keys() == declared.keys()
    for name, value in shown.items():
        wanted = WIRE.get(declared[name], str)
        assert value is None or isinstance(value, wanted), (name, value, declared[name])


async def test_a_message_that_is_deleted_is_unknown_from_then_on(stand_ins: StandIns) -> None:
    sid = await create(stand_ins)
    client = Client(ACCOUNT_SID, TOKEN, http_client=Here(stand_ins.urls["twilio"]))
    assert await asyncio.to_thread(client.messages(sid).delete)
    with pytest.raises(TwilioRestException) as unknown:
        await fetch(stand_ins, sid)
    assert (unknown.value.status, unknown.value.code) == (404, 20404)


async def test_what_has_no_value_is_absent_from_a_callback(
    stand_ins: StandIns, receiver: Receiver
) -> None:
    sid = await create(stand_ins, **{"from": "+15017122661"})
    await move(stand_ins, sid, "sent")
    [webhook] = await receiver.expect(1)
    told = parse_qs(webhook.body.decode(), keep_blank_values=True)
    assert not {"ErrorCode", "ErrorMessage", "MessagingServiceSid", "ChannelPrefix"} & told.keys()
    assert [name for name, values in told.items() if values in ([""], ["None"], ["null"])] == []


async def test_a_messaging_service_counts_no_segments_before_it_sends(stand_ins: StandIns) -> None:
    service = "MG" + "0" * 32
    sid = await create(stand_ins, messaging_service_sid=service, status="accepted", segments=2)
    message = await fetch(stand_ins, sid)
    assert (message.num_segments, message.price, message.from_) == ("0", None, None)
    assert message.messaging_service_sid == service
    await move(stand_ins, sid, "delivered")
    assert (await fetch(stand_ins, sid)).num_segments == "2"


@pytest.mark.parametrize(("token", "code"), [("wrong", 20003), (TOKEN, 20404)])
async def test_errors_are_what_twilios_library_expects(
    stand_ins: StandIns, token: str, code: int
) -> None:
    with pytest.raises(TwilioRestException) as refused:
        await fetch(stand_ins, "SM" + "0" * 32, token)
    assert refused.value.code == code


async def test_callbacks_carry_a_signature_that_twilios_validator_takes(
    stand_ins: StandIns, receiver: Receiver
) -> None:
    sid = await create(stand_ins, **{"from": "A & B", "to": "+447700900123"})
    await move(stand_ins, sid, "undelivered", error_code=30003)
    [webhook] = await receiver.expect(1)
    assert webhook.headers["content-type"] == FORM
    form = parse_qs(webhook.body.decode(), keep_blank_values=True)
    signature = webhook.headers["x-twilio-signature"]
    assert RequestValidator(TOKEN).validate(receiver.url, Repeated(form), signature)
    told = parameters(webhook)
    assert (told["MessageSid"], told["MessageStatus"]) == (sid, "undelivered")
    assert (told["ErrorCode"], told["From"]) == ("30003", "A & B")
    assert not {"Price", "NumSegments"} & told.keys()


async def test_callbacks_come_in_any_order_twice_or_not_at_all(
    stand_ins: StandIns, receiver: Receiver
) -> None:
    sid = await create(stand_ins)
    await stand_ins.control("twilio", "deliveries", {"paused": True, "reverse": True})
    await move(stand_ins, sid, "sent", copies=2)
    await move(stand_ins, sid, "queued", drop=True)
    await move(stand_ins, sid, "delivered")
    await stand_ins.control("twilio", "deliveries", {"paused": False})
    told = [parameters(one)["MessageStatus"] for one in await receiver.expect(3)]
    assert told == ["delivered", "sent", "sent"]


async def test_it_fails_as_it_is_told(stand_ins: StandIns) -> None:
    sid = await create(stand_ins)
    fault = {"kind": "status", "status": 429, "retry_after": 2, "path": f"*/Messages/{sid}.json"}
    await stand_ins.control("twilio", "faults", fault)
    with pytest.raises(TwilioRestException) as refused:
        await fetch(stand_ins, sid)
    assert (refused.value.status, refused.value.code) == (429, 20429)
    assert (await fetch(stand_ins, sid)).sid == sid
