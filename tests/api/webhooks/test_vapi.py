"""Vapi's server messages: its three credentials, and that no message hides another."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable

import pytest

from api.services import Limits
from api.webhooks.exchange import LARGEST_BODY
from tests.support.answers import accepted, balance, expect_refusal, problem, settled
from tests.support.api_server import Api, serving
from tests.support.eventually import eventually
from tests.support.factories import an_assistant, an_organization, keys_of, unique
from tests.support.signed_webhooks import (
    JSON,
    NOBODYS,
    VAPI_SECRETS,
    Webhook,
    call_id_of,
    message,
    report,
    with_bearer,
    with_header,
    with_hmac,
)

NEW, OLD = VAPI_SECRETS
MINUTES = 60


@pytest.mark.parametrize("secret", VAPI_SECRETS)
async def test_a_bearer_token_of_any_live_secret_is_taken(api: Api, secret: bytes) -> None:
    webhook = report(secret=secret)
    answer = await api.send(webhook)
    assert answer.json() == {"status": "accepted", "event": webhook.key}
    row = await api.event(webhook.key)
    assert (row.source, row.type, row.status) == ("vapi", "end-of-call-report", "waiting")
    assert row.subject == call_id_of(webhook)
    assert row.body.encode() == webhook.body


@pytest.mark.parametrize("secret", VAPI_SECRETS)
async def test_the_x_vapi_secret_header_is_taken(api: Api, secret: bytes) -> None:
    assert accepted(await api.send(with_header(report(), secret))) == "accepted"


@pytest.mark.parametrize("secret", VAPI_SECRETS)
@pytest.mark.parametrize("unit", [1, 1000], ids=["seconds", "milliseconds"])
@pytest.mark.parametrize("prefix", ["", "sha256="])
async def test_an_hmac_is_taken_with_a_time_in_seconds_or_milliseconds(
    api: Api, secret: bytes, unit: int, prefix: str
) -> None:
    timestamp = str(int(time.time() * unit))
    webhook = with_hmac(report().body, secret=secret, timestamp=timestamp)
    signature = prefix + webhook.headers["x-signature"]
    assert accepted(await api.send(webhook.but(x_signature=signature))) == "accepted"


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": None},
        {"authorization": "Bearer " + NOBODYS.decode()},
        {"authorization": "Basic " + NEW.decode()},
        {"authorization": NOBODYS.decode()},
        {"authorization": "Bearer " + NEW.decode()[:-1]},
        {"authorization": "Bearer \u00e9".encode().decode("latin-1")},
        {"authorization": None, "x_vapi_secret": NOBODYS.decode()},
        {"x_vapi_secret": NOBODYS.decode()},
        {"x_signature": "0" * 64, "x_timestamp": "1"},
        {"x_signature": ""},
    ],
)
async def test_a_wrong_credential_is_turned_away_counted_and_not_stored(
    api: Api, headers: dict[str, str | None]
) -> None:
    await expect_refusal(api, report().but(**headers), 401, "unauthorized")


async def test_a_wrong_signature_is_not_made_good_by_a_right_bearer_token(api: Api) -> None:
    webhook = with_hmac(report().body, secret=NOBODYS).but(
        authorization="Bearer " + NEW.decode(), x_vapi_secret=NEW.decode()
    )
    await expect_refusal(api, webhook, 401, "unauthorized")


async def test_an_hmac_of_another_body_is_turned_away(api: Api) -> None:
    headers = with_hmac(report().body).headers
    await expect_refusal(api, Webhook("vapi", report().body, headers), 401, "unauthorized")


@pytest.mark.parametrize("unit", [1, 1000], ids=["seconds", "milliseconds"])
@pytest.mark.parametrize("minutes", [-6, 6], ids=["stale", "future"])
async def test_an_hmac_from_another_time_is_turned_away(api: Api, unit: int, minutes: int) -> None:
    timestamp = str(int((time.time() + minutes * MINUTES) * unit))
    await expect_refusal(api, with_hmac(report().body, timestamp=timestamp), 401, "unauthorized")


@pytest.mark.parametrize("timestamp", ["", "yesterday", "-1", "1e9", "9" * 400, "9" * 5000])
async def test_an_hmac_over_something_that_is_no_time_is_turned_away(
    api: Api, timestamp: str
) -> None:
    await expect_refusal(api, with_hmac(report().body, timestamp=timestamp), 401, "unauthorized")


@pytest.mark.parametrize("secret", VAPI_SECRETS)
async def test_a_bearer_token_is_taken_without_its_prefix(api: Api, secret: bytes) -> None:
    """Vapi's `bearerPrefixEnabled: false`."""
    webhook = report().but(authorization=secret.decode())
    assert accepted(await api.send(webhook)) == "accepted"


def in_hex(digest: bytes) -> str:
    return digest.hex()


def in_capitals(digest: bytes) -> str:
    return digest.hex().upper()


def in_base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


@pytest.mark.parametrize("is_timed", [True, False], ids=["timed", "body alone"])
@pytest.mark.parametrize("encoded", [in_hex, in_capitals, in_base64])
@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
@pytest.mark.parametrize("has_prefix", [False, True], ids=["bare", "prefixed"])
async def test_an_hmac_is_taken_in_the_forms_that_vapi_offers(
    api: Api,
    is_timed: bool,
    encoded: Callable[[bytes], str],
    algorithm: str,
    has_prefix: bool,
) -> None:
    """`algorithm`, `signatureEncoding`, `signaturePrefix`, `includeTimestamp` of its plan."""
    body, now = report().body, str(int(time.time()))
    signed = f"{now}.".encode() + body if is_timed else body
    signature = encoded(hmac.digest(OLD, signed, algorithm))
    headers = {**JSON, "x-signature": f"{algorithm}={signature}" if has_prefix else signature}
    timed = {**headers, "x-timestamp": now} if is_timed else headers
    assert accepted(await api.send(Webhook("vapi", body, timed))) == "accepted"


async def test_an_hmac_of_the_body_alone_is_taken_beside_a_time(api: Api) -> None:
    """Vapi's `payloadFormat: "{body}"`."""
    body = report().body
    headers = {"x-signature": in_hex(hmac.digest(NEW, body, "sha256")), "x-timestamp": "1"}
    assert accepted(await api.send(Webhook("vapi", body, {**JSON, **headers}))) == "accepted"


@pytest.mark.parametrize(
    "signature",
    ["sha256=", "é", "g" * 64, "=" * 44, "A" * 43, "0" * 63, "0" * 66, "sha512=" + "0" * 64],
)
async def test_a_signature_that_is_none_is_turned_away(api: Api, signature: str) -> None:
    webhook = report().but(x_signature=signature.encode().decode("latin-1"))
    await expect_refusal(api, webhook, 401, "unauthorized")


async def test_an_hmac_without_its_timestamp_is_turned_away(api: Api) -> None:
    webhook = with_hmac(report().body).but(x_timestamp=None)
    await expect_refusal(api, webhook, 401, "unauthorized")


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"message": null}',
        b'{"message": "end-of-call-report"}',
        b'{"message": {"call": {"id": "c1"}}}',
        b'{"message": {"type": 7, "call": {"id": "c1"}}}',
        b'{"message": {"type": "end-of-call-report"}}',
        b'{"message": {"type": "end-of-call-report", "call": null}}',
        b'{"message": {"type": "end-of-call-report", "call": "c1"}}',
        b'{"message": {"type": "end-of-call-report", "call": {"id": null}}}',
        b'{"message": {"type": "end-of-call-report", "call": {"id": ""}}}',
        b'{"message": {"type": "end-of-call-report", "call": {"id": "c\\u0000"}}}',
        b'{"message": {"type": "end-of-call-report", "call": {"id": "\\ud800"}}}',
        b'{"message": {"type": "end of call", "call": {"id": "c1"}}}',
        json.dumps({"message": {"type": "end-of-call-report", "call": {"id": "c" * 201}}}).encode(),
    ],
)
async def test_a_message_needs_a_type_and_a_report_a_usable_call_id(api: Api, body: bytes) -> None:
    await expect_refusal(api, with_bearer(body), 400, "malformed")


@pytest.mark.parametrize(
    "fields",
    [
        {"startedAt": "soon", "endedAt": 7, "durationSeconds": "long", "endedReason": {}},
        {"startedAt": "9999-12-31T23:59:59Z", "endedAt": "0001-01-01T00:00:00+14:00"},
        {"endedReason": "a\0b", "assistant": "x", "phoneNumber": ["x"]},
        {"call": {"id": "replaced", "assistantId": "a" * 5000, "phoneNumberId": "\0"}},
        {"durationSeconds": 1e308, "transcript": "\0\U0001f600" * 1000},
    ],
)
async def test_a_report_with_unusable_facts_is_accepted_and_its_body_kept(
    api: Api, fields: dict[str, object]
) -> None:
    call_id = unique("call")
    fields = {**fields, "call": {**dict(fields.get("call") or {}), "id": call_id}}  # type: ignore[call-overload]
    webhook = with_bearer(message("end-of-call-report", call_id, **fields))
    assert accepted(await api.send(webhook)) == "accepted"
    row = await api.event(f"{call_id}:end-of-call-report")
    assert row.body.encode() == webhook.body


@pytest.mark.parametrize("message_type", ["status-update", "assistant-request"])
async def test_of_a_message_that_moves_no_money_is_kept_that_it_arrived_and_not_what_it_said(
    api: Api, message_type: str
) -> None:
    call_id = unique("call")
    said = {"status": "in-progress", "artifact": {"transcript": "My name is Jo"}}
    webhook = with_bearer(message(message_type, call_id, **said))
    (await api.send(webhook)).raise_for_status()
    digest = hashlib.sha256(webhook.body).hexdigest()[:16]
    row = await eventually(lambda: api.event(f"{call_id}:{message_type}:{digest}"))
    assert (row.type, row.subject, row.status) == (message_type, call_id, "ignored")
    assert (row.body, row.body_removed_at) == ("", row.received_at)


@pytest.mark.parametrize(
    "message_type",
    ["conversation-update", "speech-update", "transcript", "call.deleted", "never-heard-of"],
)
@pytest.mark.parametrize("call_id", [None, "a call"])
async def test_any_other_message_is_counted_and_not_kept(
    api: Api, message_type: str, call_id: str | None
) -> None:
    call_id = call_id and unique("call")
    stored, counted = await api.stored(), await api.counted()
    answer = await api.send(with_bearer(message(message_type, call_id)))
    assert answer.json() == {"status": "ignored", "event": f"{call_id or 'none'}:{message_type}"}
    assert await api.stored() == stored
    assert (await api.counted())["vapi", "ignored"] == counted.get(("vapi", "ignored"), 0) + 1


async def test_of_a_report_that_is_larger_than_any_other_webhook_only_the_facts_are_kept(
    working_api: Api,
) -> None:
    api = working_api
    org_id, call_id = await an_organization(api.engine, 1000), unique("call")
    fields = {
        "call": {"id": call_id, "assistantId": await an_assistant(api.engine, org_id)},
        "startedAt": "2026-11-02T12:00:00Z",
        "endedAt": "2026-11-02T12:01:00Z",
        "artifact": {"transcript": "x" * LARGEST_BODY},
    }
    webhook = with_bearer(message("end-of-call-report", call_id, **fields))
    assert accepted(await api.send(webhook)) == "accepted"
    await settled(api, call_id)
    row = await api.event(f"{call_id}:end-of-call-report")
    assert (row.body, row.body_removed_at) == ("", row.received_at)
    assert await balance(api, org_id) == 1000 - 56


async def test_nobody_is_read_whose_secret_is_wrong(api: Api) -> None:
    """A body of any size: whoever would read it would find it too large."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(130):
            yield b"x" * 65_536

    headers = with_bearer(b"", secret=NOBODYS).headers
    answer = await api.anonymous.post("/webhooks/vapi", content=chunks(), headers=headers)
    problem(answer, 401, "unauthorized")


async def test_every_status_update_of_a_call_is_kept_and_a_repeated_one_once(api: Api) -> None:
    call_id = unique("call")
    updates = [
        with_bearer(message("status-update", call_id, status=status))
        for status in ("ringing", "in-progress", "ended", "ended")
    ]
    events = [(await api.send(update)).json()["event"] for update in updates]
    assert len(set(events)) == 3
    assert None not in [await api.event(event) for event in events]


async def test_a_status_update_never_blocks_the_end_of_call_report(working_api: Api) -> None:
    api = working_api
    org_id = await an_organization(api.engine, 1000)
    webhook = report(await an_assistant(api.engine, org_id), 60)
    update = message("status-update", call_id_of(webhook), status="ended")
    assert accepted(await api.send(with_bearer(update))) == "ignored"
    assert accepted(await api.send(webhook)) == "accepted"
    await settled(api, call_id_of(webhook))
    assert await balance(api, org_id) == 1000 - 56


async def test_the_same_report_again_is_a_duplicate_whatever_its_body_says_now(api: Api) -> None:
    call_id = unique("call")
    first, again = report("a", 60, call_id=call_id), report("b", 3600, call_id=call_id)
    assert [accepted(await api.send(one)) for one in (first, again)] == ["accepted", "duplicate"]
    assert (await api.event(first.key)).body.encode() == first.body


async def test_of_fifty_reports_of_one_call_at_once_one_is_accepted_and_charged(
    working_api: Api,
) -> None:
    api = working_api
    org_id = await an_organization(api.engine, 1000)
    webhook = report(await an_assistant(api.engine, org_id), 60)
    answers = await asyncio.gather(*(api.send(webhook) for _ in range(50)))
    assert Counter(map(accepted, answers)) == {"accepted": 1, "duplicate": 49}
    call_id = call_id_of(webhook)
    await settled(api, call_id)
    assert await keys_of(api.engine, org_id) == [f"call:{call_id}"]
    assert await balance(api, org_id) == 1000 - 56


async def test_an_organization_named_in_the_body_is_not_believed(working_api: Api) -> None:
    api = working_api
    victim, owner = await an_organization(api.engine, 1000), await an_organization(api.engine, 1000)
    call_id, assistant = unique("call"), await an_assistant(api.engine, owner)
    body = message(
        "end-of-call-report",
        call_id,
        call={"id": call_id, "orgId": victim, "assistantId": assistant},
        metadata={"org_id": victim},
        org_id=victim,
        startedAt="2026-11-02T12:00:00Z",
        endedAt="2026-11-02T12:01:00Z",
    )
    await api.send(Webhook("vapi", body, {**JSON, "x-vapi-secret": NEW.decode()}))
    await settled(api, call_id)
    assert (await balance(api, victim), await balance(api, owner)) == (1000, 1000 - 56)


def sent(milliseconds: object) -> bytes:
    """A report with this as its own time."""
    body = json.loads(report().body)
    body["message"]["timestamp"] = milliseconds
    return json.dumps(body).encode()


def ago(days: float, unit: int = 1000) -> int:
    return round((time.time() - days * 24 * 60 * MINUTES) * unit)


@pytest.mark.parametrize("days", [-1.1, 1.1], ids=["future", "stale"])
@pytest.mark.parametrize("unit", [1, 1000], ids=["seconds", "milliseconds"])
async def test_what_shows_a_secret_is_not_taken_from_another_day(
    api: Api, days: float, unit: int
) -> None:
    """Whoever has seen a request could send it again for ever."""
    body = sent(ago(days, unit))
    for webhook in (with_bearer(body), with_header(Webhook("vapi", body, JSON), NEW)):
        await expect_refusal(api, webhook, 401, "unauthorized")


async def test_a_signature_of_the_body_alone_is_held_to_the_day_too(api: Api) -> None:
    for days, status in ((0.9, 200), (1.1, 401)):
        body = sent(ago(days))
        signature = hmac.digest(NEW, body, "sha256").hex()
        webhook = Webhook("vapi", body, {**JSON, "x-signature": signature})
        assert (await api.send(webhook)).status_code == status


async def test_a_signature_with_a_time_has_its_own(api: Api) -> None:
    assert accepted(await api.send(with_hmac(sent(ago(2))))) == "accepted"


@pytest.mark.parametrize(
    "time_",
    [None, "yesterday", 0.9, -0.9],
    ids=["none", "no time", "earlier today", "ahead of ours"],
)
async def test_a_message_without_a_time_of_its_own_or_of_today_is_taken(
    api: Api, time_: object
) -> None:
    if isinstance(time_, float):
        time_ = ago(time_)
    assert accepted(await api.send(with_bearer(sent(time_)))) == "accepted"


async def test_how_old_a_message_may_be_is_a_setting(api: Api) -> None:
    async with serving(api.engine, api.temporal, limits=Limits(vapi_message_seconds=60)) as other:
        await expect_refusal(other, with_bearer(sent(ago(0.01))), 401, "unauthorized")
