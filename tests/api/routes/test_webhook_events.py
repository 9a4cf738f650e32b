"""Did the webhook arrive, and what became of it? Asked by whatever the sender or we call it."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import text

from billing.inbox.webhook_event import EventStatus
from store.inbox import inbox, lookup, retention
from tests.support.answers import accepted, eventually, parked, problem, settled
from tests.support.api_server import Api, serving
from tests.support.factories import an_assistant, an_organization, balance_of, ended_call, unique
from tests.support.inbox_events import accept, report_of
from tests.support.signed_webhooks import call_id_of, message, report, stripe_event, with_bearer
from tests.support.stand_ins import StripeStandIn

UI = "https://temporal.example.com/namespaces/billing/workflows"


async def listed(api: Api, **which: Any) -> list[dict[str, Any]]:
    """Every event that fits, over all pages."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await api.operator.get("/v1/webhook-events", params={**which, **cursor})
        body = answer.raise_for_status().json()
        found += body["items"]
        if body["next_cursor"] is None:
            return found
        cursor = {"cursor": body["next_cursor"]}


async def told(api: Api, event_id: int) -> dict[str, Any]:
    answer = await api.operator.get(f"/v1/webhook-events/{event_id}")
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


async def the_event(api: Api, key: str) -> dict[str, Any]:
    [event] = await listed(api, key=key)
    return await told(api, event["event_id"])


def status_update(call_id: str) -> Any:
    return with_bearer(message("status-update", call_id, status="ringing"))


async def test_a_report_that_was_charged_names_its_call_its_workflow_and_its_entry(
    working_api: Api,
) -> None:
    org_id = await an_organization(working_api.engine, 1000)
    webhook = report(await an_assistant(working_api.engine, org_id), seconds=61)
    accepted(await working_api.send(webhook))
    call_id = call_id_of(webhook)
    await settled(working_api, call_id)
    [event] = await listed(working_api, subject=call_id)
    assert (event["status"], event["key"], event["due_at"]) == ("handled", webhook.key, None)
    assert event["received_at"] <= event["handled_at"]
    found = await told(working_api, event["event_id"])
    assert found["event"] == event
    assert found["call"]["started_at"] == "2026-11-02T12:00:00Z"
    assert (found["state"], found["workflow_id"]) == ("settled", f"call/{call_id}")
    assert [one["key"] for one in found["entries"]] == [f"call:{call_id}"]
    async with serving(working_api.engine, working_api.temporal, workflows_url=UI) as linked:
        found = await told(linked, event["event_id"])
    assert found["workflow_url"] == f"{UI}/{quote(f'call/{call_id}', safe='')}"


async def test_a_report_whose_call_waits_says_why(working_api: Api) -> None:
    webhook = report("nobody's", seconds=61)
    accepted(await working_api.send(webhook))
    await parked(working_api, call_id_of(webhook), "unknown_assistant")
    found = await the_event(working_api, webhook.key)
    assert (found["state"], found["entries"]) == ("unknown_assistant", [])


async def test_a_payment_s_events_are_found_by_it_and_name_what_they_moved(
    working_api: Api, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(working_api.engine)
    payment_id = await stripe.payment(org_id, 2500)
    refund_id = await stripe.refund(payment_id, amount=500)
    paid = stripe_event(inner={"id": payment_id, "object": "payment_intent"})
    refunded = stripe_event(
        "refund.created", {"id": refund_id, "object": "refund", "payment_intent": payment_id}
    )
    for webhook in (paid, refunded):
        accepted(await working_api.send(webhook))

    async def is_refunded() -> bool:
        return await balance_of(working_api.engine, org_id) == 2000

    await eventually(is_refunded)
    events = await listed(working_api, subject=payment_id)
    assert [one["key"] for one in events] == [refunded.key, paid.key]
    found = await told(working_api, events[0]["event_id"])
    assert [one["key"] for one in found["entries"]] == [
        f"payment:{payment_id}:credit",
        f"refund:{refund_id}",
    ]
    assert (found["workflow_id"], found["call"]) == (f"payment/{payment_id}", None)


async def test_what_waits_is_found_whatever_came_after_it(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "LOOKED_AT", 3)
    waiting = report(unique("assistant"))
    accepted(await api.send(waiting))
    for _ in range(5):
        accepted(await api.send(status_update(unique("call"))))
    found = await listed(api, status="waiting", limit=200)
    [event] = [one for one in found if one["key"] == waiting.key]
    assert event["handled_at"] is None
    assert event["due_at"] is not None
    shown = await told(api, event["event_id"])
    assert (shown["state"], shown["workflow_id"]) == (None, f"call/{event['subject']}")


async def test_the_newest_come_first_and_every_one_is_on_one_page(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a page looks at fewer than it takes to fill it."""
    sent = [status_update(unique("call")) for _ in range(7)]
    rare = stripe_event(kind := unique("kind"))
    for webhook in (rare, *sent):
        accepted(await api.send(webhook))
    for looked_at in (1, 2, 1000):
        monkeypatch.setattr(lookup, "LOOKED_AT", looked_at)
        since = (datetime.fromtimestamp(time.time(), UTC) - timedelta(minutes=1)).isoformat()
        found = await listed(api, received_after=since, limit=2)
        numbers = [one["event_id"] for one in found]
        assert numbers == sorted(set(numbers), reverse=True)
        assert len(numbers) >= 8
        assert len(await listed(api, type=kind, received_after=since)) == 1


async def test_of_a_call_its_other_messages_are_found_by_their_type(api: Api) -> None:
    call_id = unique("call")
    accepted(await api.send(status_update(call_id)))
    [event] = await listed(api, subject=call_id, type="status-update")
    assert (event["status"], event["source"]) == ("ignored", "vapi")
    found = await told(api, event["event_id"])
    assert (found["workflow_id"], found["state"], found["entries"]) == (None, None, [])


async def test_a_time_is_listed_and_nothing_around_it(api: Api) -> None:
    marks = []
    for _ in range(3):
        accepted(await api.send(status_update(unique("call"))))
        accepted(await api.send(report(unique("assistant"))))
        async with api.engine.connect() as connection:
            marks.append((await connection.execute(text("SELECT clock_timestamp()"))).scalar_one())
    first, second, _ = (mark.isoformat() for mark in marks)
    found = await listed(api, received_after=first, received_before=second)
    assert [one["type"] for one in found] == ["end-of-call-report", "status-update"]


async def test_what_is_said_in_a_call_is_never_shown(api: Api) -> None:
    call_id = unique("call")
    body = message("end-of-call-report", call_id, transcript="My name is Jo")
    webhook = with_bearer(body, f"{call_id}:end-of-call-report")
    accepted(await api.send(webhook))
    answers = await listed(api, key=webhook.key), await the_event(api, webhook.key)
    assert "Jo" not in json.dumps(answers)


async def test_a_body_that_was_removed_leaves_everything_else(api: Api) -> None:
    old = report_of(ended_call(unique("assistant"), 60))
    await accept(api.engine, old)
    before = await the_event(api, old.key)
    number = before["event"]["event_id"]
    async with api.engine.begin() as connection:
        await inbox.handled(connection, [number])
        await connection.execute(
            text("UPDATE webhook_events SET received_at = '2020-01-01' WHERE event_id = :number"),
            {"number": number},
        )
        await retention.empty_bodies(connection, number - 1, 30, 1)
    after = await the_event(api, old.key)
    assert after["event"]["body_removed_at"] is not None
    assert (after["call"], after["event"]["status"]) == (before["call"], EventStatus.HANDLED)


async def test_an_event_that_never_came_is_not_found(api: Api) -> None:
    assert await listed(api, key="evt_never") == []
    problem(await api.operator.get("/v1/webhook-events/9223372036854775807"), 404, "not_found")
    problem(await api.operator.get("/v1/webhook-events/9223372036854775808"), 422, "invalid")


async def test_an_organisation_reads_no_webhooks(api: Api) -> None:
    tenant = await api.tenant(await an_organization(api.engine))
    problem(await tenant.get("/v1/webhook-events"), 403, "forbidden")
    problem(await tenant.get("/v1/webhook-events/1"), 403, "forbidden")
