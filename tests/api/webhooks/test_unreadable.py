"""Bodies that no provider sends: refused at either door before anything is stored."""

from collections.abc import AsyncIterator, Callable

import pytest

from tests.support.answers import accepted, expect_refusal, problem
from tests.support.api_server import Api
from tests.support.signed_webhooks import (
    Webhook,
    report,
    signed_by_stripe,
    stripe_event,
    with_bearer,
)

LARGEST = 1024 * 1024

both_doors = pytest.mark.parametrize("door", [signed_by_stripe, with_bearer])
both_sizes = pytest.mark.parametrize(
    ("door", "largest"), [(signed_by_stripe, LARGEST), (with_bearer, 8 * LARGEST)]
)
Door = Callable[[bytes], Webhook]


@both_doors
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"not json",
        b"null",
        b"7",
        b'"text"',
        b"[]",
        b'[{"id": "evt_1", "type": "customer.created"}]',
        b'{"id": "\\ud800", "type": "customer.created", "message": {"type": "\\ud800"}}',
        b'{"id": "evt_1", "type": "a", "message": {"type": "a"}, "n": NaN}',
        b"[" * 5000,
    ],
)
async def test_a_body_that_is_not_a_json_object_is_malformed(
    api: Api, door: Door, body: bytes
) -> None:
    await expect_refusal(api, door(body), 400, "malformed")


async def test_a_body_that_is_not_utf_8_is_malformed(api: Api) -> None:
    body = b'{"message": {"type": "status-update", "note": "\xff\xfe"}}'
    await expect_refusal(api, with_bearer(body), 400, "malformed")


async def test_a_raw_nul_is_malformed(api: Api) -> None:
    body = b'{"message": {"type": "status-update", "note": "\x00"}}'
    await expect_refusal(api, with_bearer(body), 400, "malformed")


@both_sizes
async def test_the_largest_body_is_read_and_one_byte_more_is_too_large(
    api: Api, door: Door, largest: int
) -> None:
    start, end = b'{"id":"evt_1","type":"a","message":{"type":"a"},"pad":"', b'"}'
    pad = b"x" * (largest - len(start) - len(end))
    assert accepted(await api.send(door(start + pad + end))) in ("ignored", "duplicate")
    await expect_refusal(api, door(start + pad + b"x" + end), 413, "too_large")


@both_sizes
async def test_a_body_that_grows_too_large_chunk_by_chunk_is_too_large(
    api: Api, door: Door, largest: int
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield b"x" * (largest // 16)

    webhook = door(b"")
    stored, counted = await api.stored(), await api.counted()
    answer = await api.anonymous.post(
        f"/webhooks/{webhook.source}", content=chunks(), headers=webhook.headers
    )
    problem(answer, 413, "too_large")
    assert await api.stored() == stored
    outcome = (webhook.source, "too_large")
    assert (await api.counted())[outcome] == counted.get(outcome, 0) + 1


@pytest.mark.parametrize("media_type", ["text/plain", "application/jsonp", "multipart/form-data"])
@pytest.mark.parametrize("webhook", [stripe_event(), report()], ids=["stripe", "vapi"])
async def test_only_json_is_taken(api: Api, webhook: Webhook, media_type: str) -> None:
    refused = webhook.but(content_type=media_type)
    await expect_refusal(api, refused, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "media_type", ["application/json; charset=utf-8", "Application/JSON", None]
)
async def test_json_may_be_spelled_as_http_allows(api: Api, media_type: str | None) -> None:
    assert accepted(await api.send(stripe_event().but(content_type=media_type))) == "accepted"
