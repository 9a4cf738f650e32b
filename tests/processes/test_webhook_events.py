"""Every kind of event that waits has a process that sees to it."""

from typing import get_args

import pytest
from temporalio.client import Client

from billing.calls.call import EndedCall
from billing.calls.call_in_progress import OngoingCall
from billing.inbox.webhook_event import (
    HANDLING,
    Drain,
    EventStatus,
    Facts,
    ObjectHint,
    PaymentHint,
    SessionHint,
    Source,
    WebhookEvent,
)
from billing.messages.message import MessageStatus, SeenMessage
from processes import webhook_events
from tests.support.factories import a_sid, ended_call, unique

KEY = "evt_of_a_test"


def event(source: Source, facts: Facts | None) -> WebhookEvent:
    return WebhookEvent(source, KEY, "any", "any", "{}", facts=facts)


def waiting_events() -> dict[type, tuple[WebhookEvent, str]]:
    """An event with each kind of facts that starts a process, and the id of that process."""
    call, sid, payment_id = ended_call(unique("assistant")), a_sid(), unique("pi")
    hint, named = PaymentHint(payment_id, KEY), ObjectHint("charge", "ch_1", unique("evt"))
    seen = SeenMessage(sid, "AC1", MessageStatus.SENT, None, KEY)
    return {
        EndedCall: (event(Source.VAPI, call), f"call/{call.call_id}"),
        SeenMessage: (event(Source.TWILIO, seen), f"sms/{sid}"),
        PaymentHint: (event(Source.STRIPE, hint), f"payment/{payment_id}"),
        SessionHint: (
            event(Source.STRIPE, SessionHint("checkout/1", hint)),
            f"payment/{payment_id}",
        ),
        ObjectHint: (event(Source.STRIPE, named), f"stripe-event/{named.key}"),
    }


def test_every_source_has_a_drain_and_every_drain_a_source() -> None:
    assert HANDLING.keys() == set(Source)
    assert {one.drain for one in HANDLING.values()} == set(Drain)


def test_facts_that_are_kept_and_all_others_but_a_call_in_progress_start_a_process() -> None:
    started = waiting_events().keys()
    assert {one.kept for one in HANDLING.values()} <= started
    assert set(get_args(Facts)) - {OngoingCall} == started


@pytest.mark.parametrize("facts", [EndedCall, SeenMessage, PaymentHint, SessionHint, ObjectHint])
async def test_an_event_that_waits_starts_the_process_of_its_facts(
    temporal: Client, facts: type
) -> None:
    waiting, workflow_id = waiting_events()[facts]
    assert await webhook_events.start(temporal, waiting)
    started = await temporal.get_workflow_handle(workflow_id).describe()
    assert started.id == workflow_id
    await temporal.get_workflow_handle(workflow_id).terminate("the test is over")


async def test_what_follows_from_nothing_starts_nothing(temporal: Client) -> None:
    with pytest.raises(ValueError, match=KEY):
        await webhook_events.start(temporal, event(Source.STRIPE, None))


def test_only_what_waits_and_comes_by_the_thousand_may_be_a_flood() -> None:
    call, payment = event(Source.VAPI, None), event(Source.STRIPE, None)
    ignored = WebhookEvent(Source.VAPI, KEY, "any", "", "{}", EventStatus.IGNORED)
    assert [one.may_flood for one in (call, payment, ignored)] == [True, False, False]
