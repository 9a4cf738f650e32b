"""Webhooks as their senders sign them, with anything in them: answered as documented, and kept."""

import asyncio
import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import hypothesis
import pytest
from hypothesis import strategies as st
from sqlalchemy import select

from store.schema import webhook_events
from tests.support import twilio_callbacks
from tests.support.api_server import Api
from tests.support.assistant_requests import assistant_request
from tests.support.signed_webhooks import (
    Webhook,
    message,
    report,
    signed_by_stripe,
    stripe_event,
    thin_event,
    with_bearer,
    with_hmac,
)

FULL, SMALL = 1000, 25
Path = tuple[str | int, ...]
TEXTS = st.text(st.characters(), max_size=20) | st.sampled_from(
    ["", "\x00", "\ud800", "\u202e", "1e999", "x" * 300, "2026-11-02T12:00:00.000Z", "9" * 40]
)
NUMBERS = st.integers() | st.floats() | st.sampled_from([2**31, 2**63, -(2**63) - 1, 10**400, -1])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


def of_stripe(body: Any) -> Webhook:
    return signed_by_stripe(json.dumps(body).encode())


def of_vapi(body: Any) -> Webhook:
    return with_bearer(json.dumps(body).encode())


def of_vapi_signed(body: Any) -> Webhook:
    return with_hmac(json.dumps(body).encode())


def of_twilio(body: Any) -> Webhook:
    written = [
        (name.encode(errors="replace").decode(), str(value).encode(errors="replace").decode())
        for name, value in (body.items() if isinstance(body, dict) else ())
    ]
    account = dict(written).get("AccountSid", "")
    token = twilio_callbacks.SUBS if account == twilio_callbacks.SUB else twilio_callbacks.NEW
    return twilio_callbacks.signed(written, token)


SHAPES: dict[str, tuple[Callable[[Any], Webhook], list[Callable[[], Any]]]] = {
    "stripe": (
        of_stripe,
        [
            lambda: json.loads(stripe_event().body),
            lambda: json.loads(stripe_event("charge.refunded", charge(), livemode=False).body),
            lambda: json.loads(thin_event().body),
            lambda: json.loads(thin_event("v1.charge.refunded", ("charge", "ch_1")).body),
        ],
    ),
    "vapi": (
        of_vapi,
        [
            lambda: json.loads(report("an-assistant").body),
            lambda: json.loads(message("status-update", "a-call", status="in-progress")),
            lambda: json.loads(assistant_request("a-number")),
        ],
    ),
    "vapi, signed": (of_vapi_signed, [lambda: json.loads(report("an-assistant").body)]),
    "twilio": (of_twilio, [lambda: dict(parsed(twilio_callbacks.callback().body))]),
}


def charge() -> dict[str, Any]:
    refunds = {"data": [{"id": "re_1", "amount": 5, "status": "succeeded"}]}
    return {"id": "ch_1", "object": "charge", "payment_intent": "pi_1", "refunds": refunds}


def parsed(form: bytes) -> list[tuple[str, str]]:
    return list(httpx.QueryParams(form.decode()).multi_items())


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield where there is something in a value, itself included."""
    yield path
    inside = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for step, one in inside:
        yield from paths(one, (*path, step))


@st.composite
def edited(draw: st.DrawFn, shapes: list[Callable[[], Any]]) -> Any:
    """Draw a body of which up to three values are others, doubled or gone."""
    body = copy.deepcopy(draw(st.sampled_from(shapes))())
    for _ in range(draw(st.integers(1, 3))):
        *way, last = ("", *draw(st.sampled_from(list(paths(body)))))
        if not way:
            continue
        holder = body
        for step in way[1:]:
            holder = holder[step]
        if draw(st.integers(0, 4)):
            holder[last] = draw(VALUES)
        else:
            del holder[last]
    return body


@pytest.mark.always
@pytest.mark.parametrize("shape", SHAPES)
async def test_whatever_a_sender_signs_is_answered_as_documented_and_kept(
    api: Api, shape: str, story_is_full: bool
) -> None:
    door, bodies = SHAPES[shape]
    documented = {200, 400, 401, 413, 415}
    kept: set[str] = set()

    def send_all() -> None:
        with httpx.Client(base_url=api.url, timeout=120, trust_env=False) as client:

            @hypothesis.settings(
                max_examples=FULL if story_is_full else SMALL,
                derandomize=not story_is_full,
                database=None,
                suppress_health_check=list(hypothesis.HealthCheck),
            )
            @hypothesis.given(edited(bodies))
            def is_answered(body: Any) -> None:
                webhook = door(body)
                path = "twilio/sms-status" if webhook.source == "twilio" else webhook.source
                answer = client.post(
                    f"/webhooks/{path}", content=webhook.body, headers=dict(webhook.headers)
                )
                assert answer.status_code in documented, (answer.text, webhook.body)
                if answer.is_success and answer.json().get("status") in ("accepted", "duplicate"):
                    kept.add(answer.json()["event"])

            is_answered()

    await asyncio.to_thread(send_all)
    assert kept
    async with api.engine.connect() as connection:
        keys = select(webhook_events.c.key).where(webhook_events.c.key.in_(kept))
        assert {row.key for row in await connection.execute(keys)} == kept
