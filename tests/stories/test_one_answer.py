"""Every money operation, done once, done again, and refused: one shape of answer everywhere.

The workflow's result (or the API's answer), the log line and the metric say the same of it.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import TypeAdapter
from sqlalchemy import text
from temporalio.client import WorkflowHandle
from temporalio.common import WorkflowIDReusePolicy

from billing.adjustments import Adjustment
from billing.calls.call import CallBill, EndedCall
from billing.collection import CollectionRequest
from billing.inbox.webhook_event import Drain, WebhookEvent
from billing.ledger.entry import EntryKind, Outcome, Posting, PostingCounts
from billing.messages.message import MessageBill
from devstack.stack import Stack
from processes.drains import nudge
from settings import WorkerSettings
from tests.support import inbox_events, messages
from tests.support.adjustments import adjusted, another_operator, pending, say
from tests.support.books import Books, open_books
from tests.support.eventually import eventually
from tests.support.factories import a_sender, an_assistant, as_api, credit, ended_call
from tests.support.parked_workflows import ended, start_bill, until_parked
from tests.support.proposals import proposed
from tests.support.stand_ins import StripeStandIn, TwilioStandIn
from tests.workflows.test_settle_payment import hear, hint_about
from workflows import adjust, bill_call, drain_inbox, drain_messages
from workflows.adjust import Adjust
from workflows.bill_call import BillCall
from workflows.collect import Collect
from workflows.shared import collection_requests
from workflows.shared.data_converter import DATA_CONVERTER

# Of which key, and how it was answered.
Answer = tuple[str, Posting]
Walk = Callable[[Books], AsyncIterator[Answer]]
A, D, R = Outcome.APPLIED, Outcome.DUPLICATE, Outcome.REFUSED
_POSTING = TypeAdapter(Posting)


@dataclass(frozen=True)
class _Drained:
    """What both drains answer with: `Drained` and `DrainedMessages`."""

    postings: PostingCounts


_MINUTE, _HOUR = 60, 3600


@pytest.fixture(scope="module")
async def books(
    stack: Stack, settings: WorkerSettings, stripe: StripeStandIn, twilio: TwilioStandIn
) -> AsyncIterator[Books]:
    async with open_books(stack, settings, stripe, twilio) as opened:
        yield opened


# ---- the operations


async def a_call(books: Books) -> AsyncIterator[Answer]:
    """By its own workflow; refused, it waits until money arrives, and then finds its entry."""
    org_id = await books.an_organization(1000)
    assistant = await an_assistant(books.api.engine, org_id)
    call = ended_call(assistant, _MINUTE)
    for _ in range(2):
        yield f"call:{call.call_id}", posting_of(await ended(await bill(books, call)))
    dear = ended_call(assistant, _HOUR)
    waiting = await start_bill(books.temporal, dear)
    await until_parked(waiting, "debt_limit")
    yield f"call:{dear.call_id}", await refused(waiting, CallBill)
    await credit(books.api.engine, org_id, 10_000)
    collecting = await books.temporal.start_workflow(
        Collect.run, CollectionRequest(org_id), **collection_requests.start_options(org_id)
    )
    assert (await ended(collecting)).postings == PostingCounts(applied=1)
    yield f"call:{dear.call_id}", posting_of(await ended(waiting))


async def a_correction(books: Books) -> AsyncIterator[Answer]:
    """Vapi's API says that a call was longer, then shorter, then so long that it is too dear."""
    org_id = await books.an_organization(1000)
    call = ended_call(await an_assistant(books.api.engine, org_id), _MINUTE)
    key = f"call:{call.call_id}"
    yield key, posting_of(await ended(await bill(books, call)))
    for number, seconds in enumerate((2 * _MINUTE, _MINUTE), start=1):
        bill_ = await ended(await bill(books, said_by_vapi(call, seconds)))
        yield f"{key}:correction:{number}", posting_of(bill_)
    yield key, posting_of(await ended(await bill(books, said_by_vapi(call, _MINUTE))))
    waiting = await bill(books, said_by_vapi(call, _HOUR))
    await until_parked(waiting, "debt_limit")
    yield f"{key}:correction:3", await refused(waiting, CallBill)


async def a_payment(books: Books) -> AsyncIterator[Answer]:
    """With a refund that fails, and a dispute that is won; each time all of it is looked at."""
    org_id = await books.an_organization()
    payment_id = await books.stripe.payment(org_id, 2500)
    refund = await books.stripe.refund(payment_id, amount=1000, status="pending")
    dispute = await books.stripe.dispute(payment_id, status="needs_response", amount=700)
    for turn in range(3):
        if turn == 1:
            await books.stripe.refund_becomes(refund, "failed")
            await books.stripe.dispute_becomes(dispute, "won")
        settlement = await ended(await hear(books.temporal, hint_about(payment_id)))
        assert settlement is not None
        for posting in settlement.postings:
            assert posting.entry is not None
            yield posting.entry.key, posting


async def a_message(books: Books) -> AsyncIterator[Answer]:
    """By its own workflow: charged, given back, and refused."""
    org_id = await books.an_organization(1000)
    sender = await a_sender(books.api.engine, org_id)
    sid = await messages.a_message(books.twilio, sender, "delivered")
    for _ in range(2):
        yield f"sms:{sid}", posting_of(await heard(books, sid, "delivered"))
    lost = await messages.a_message(books.twilio, sender, "sent")
    await messages.report_statuses(books.temporal, lost, "sent")
    await eventually(lambda: messages.is_charged(books.api.engine, lost))
    for _ in range(2):
        yield f"sms:{lost}:reversal", posting_of(await heard(books, lost, "undelivered"))
    poor = await books.an_organization(debt_limit_minor=0)
    dear = await messages.a_message(
        books.twilio, await a_sender(books.api.engine, poor), "delivered"
    )
    waiting = await messages.report_statuses(books.temporal, dear, "delivered")
    await until_parked(waiting, "debt_limit")
    yield f"sms:{dear}", await refused(waiting, MessageBill)


async def an_adjustment(books: Books) -> AsyncIterator[Answer]:
    """Over HTTP, approved by another, and by its own workflow; a debit may be refused."""
    org_id, operator = await books.an_organization(), books.api.operator
    given = await adjusted(operator, org_id, amount_minor=100)
    yield answered(given)
    taken = await adjusted(operator, org_id, "debit", amount_minor=9000)
    assert taken["state"] == "refused"
    yield answered(taken)
    waits = await pending(operator, org_id)
    other = await another_operator(books.api)
    yield answered((await say(other, waits, "approve")).json())
    proposal = proposed(org_id, 100, needs_approval=False)
    for _ in range(2):
        handle = await books.temporal.start_workflow(
            Adjust.run, proposal, **adjust.start_options(proposal)
        )
        adjustment = await ended(handle)
        yield f"adjustment:{proposal.adjustment_id}", posting_of(adjustment)


WALKS: dict[Walk, dict[EntryKind, list[Outcome]]] = {
    a_call: {EntryKind.CALL: [A, D, R, D]},
    a_correction: {EntryKind.CALL: [A, D], EntryKind.CORRECTION: [A, A, R]},
    a_payment: {
        EntryKind.TOPUP: [A, D, D],
        EntryKind.REFUND: [A, D, D],
        EntryKind.REFUND_REVERSAL: [A, D],
        EntryKind.DISPUTE: [A, D, D],
        EntryKind.DISPUTE_REVERSAL: [A, D],
    },
    a_message: {EntryKind.SMS: [A, D, R], EntryKind.SMS_REVERSAL: [A, D]},
    an_adjustment: {EntryKind.ADJUSTMENT: [A, R, A, A, D]},
}


# ---- what is said of them


@pytest.mark.parametrize("walk", WALKS, ids=lambda walk: str(walk.__name__))
async def test_answer_log_line_and_metric_say_the_same_of_every_operation(
    books: Books, walk: Walk
) -> None:
    seen: dict[EntryKind, list[Outcome]] = {}
    async for key, posting in walk(books):
        assert books.has_logged(key, posting), (key, posting, books.lines(key))
        has_one_shape(posting)
        [kind] = {EntryKind(line["kind"]) for line in books.lines(key)}
        seen.setdefault(kind, []).append(posting.outcome)
    assert seen == WALKS[walk]
    assert await books.counted() == books.logged()


def test_every_kind_of_entry_is_walked_through_and_done_twice() -> None:
    walked: dict[EntryKind, set[Outcome]] = {}
    for outcomes in WALKS.values():
        for kind, found in outcomes.items():
            walked[kind] = walked.get(kind, set()) | set(found)
    assert walked.keys() == set(EntryKind)
    # Corrected once, a call costs what it should: then its own entry is the duplicate.
    assert all({A, D} <= found for kind, found in walked.items() if kind != EntryKind.CORRECTION)
    assert {kind for kind, found in walked.items() if R in found} == {
        EntryKind.CALL, EntryKind.CORRECTION, EntryKind.SMS, EntryKind.ADJUSTMENT,
    }  # fmt: skip


async def test_the_batch_lanes_count_the_same_answers_as_are_logged_and_measured(
    books: Books,
) -> None:
    """Of thousands a batch answers with how many; each of them is told all the same."""
    org_id = await books.an_organization(1000)
    assistant = await an_assistant(books.api.engine, org_id)
    sender = await a_sender(books.api.engine, org_id)
    cheap = [ended_call(assistant, _MINUTE) for _ in range(3)]
    dear = ended_call(assistant, _HOUR)
    sids = [await messages.a_message(books.twilio, sender, "delivered") for _ in range(2)]
    before = books.logged()
    reports = [inbox_events.report_of(call) for call in cheap]
    callbacks = [messages.callback_of(messages.seen_message(sid, "delivered")) for sid in sids]
    await inbox_events.drain(books.temporal, books.api.engine, *reports)
    await messages.drain_messages_of(books.temporal, books.api.engine, *callbacks)
    await forget(books, [*reports, *callbacks])
    await inbox_events.drain(books.temporal, books.api.engine, *reports)
    await messages.drain_messages_of(books.temporal, books.api.engine, *callbacks)
    await inbox_events.accept(books.api.engine, inbox_events.report_of(dear))
    await nudge(books.temporal, Drain.INBOX)
    await until_parked(books.temporal.get_workflow_handle(f"call/{dear.call_id}"), "debt_limit")
    told = books.logged() - before
    # A call that a batch has refused is tried again by a workflow of its own: that is no news.
    assert told == Counter(
        {("call", "applied"): 3, ("call", "duplicate"): 3, ("call", "refused"): 1,
         ("sms", "applied"): 2, ("sms", "duplicate"): 2}
    )  # fmt: skip
    assert await books.counted() == books.logged()
    await eventually(lambda: has_answered(books, drain_inbox.WORKFLOW_ID, PostingCounts(3, 3, 1)))
    await eventually(
        lambda: has_answered(books, drain_messages.WORKFLOW_ID, PostingCounts(2, 2, 0))
    )


async def test_an_answer_of_the_api_that_finds_it_done_is_a_duplicate_of_the_same_shape(
    books: Books,
) -> None:
    org_id = await books.an_organization()
    waits = await pending(books.api.operator, org_id)
    other = await another_operator(books.api)
    _, first = answered((await say(other, waits, "approve")).json())
    _, again = answered((await say(other, waits, "approve")).json())
    now = first.balance_after
    assert again == replace(first, outcome=D, balance_before=now, balance_after=now)


async def test_nothing_else_about_money_is_called_a_duplicate(books: Books) -> None:
    """A webhook's answer says it of an event, in words of its own that are no schema's."""
    document = (await books.api.anonymous.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    assert set(schemas["Posting"]["properties"]) == {field.name for field in fields(Posting)}
    assert {name for name, schema in schemas.items() if says_duplicate(schema)} == {"Outcome"}
    assert not says_duplicate(document["paths"])


def says_duplicate(schema: object) -> bool:
    """Whether it is one of the words that a field may have."""
    if isinstance(schema, dict):
        return "duplicate" in schema.get("enum", ()) or any(map(says_duplicate, schema.values()))
    return isinstance(schema, list) and any(map(says_duplicate, schema))


def has_one_shape(posting: Posting) -> None:
    """The entry is there unless it is refused, and the balances say what has moved."""
    before, after = posting.balance_before, posting.balance_after
    match posting.outcome:
        case Outcome.APPLIED:
            assert posting.entry is not None
            assert posting.entry.balance_after == after
            assert abs((after - before).amount_minor) == posting.entry.amount.amount_minor
        case Outcome.DUPLICATE:
            assert posting.entry is not None
            assert before == after
        case Outcome.REFUSED:
            assert posting.entry is None
            assert before == after
    assert (posting.refusal is None) == (posting.outcome is not Outcome.REFUSED)


# ---- how they are done


async def bill(books: Books, call: EndedCall) -> WorkflowHandle[Any, CallBill]:
    """Have a call billed (again), as reconciliation does."""
    options = bill_call.start_options(call)
    options["id_reuse_policy"] = WorkflowIDReusePolicy.ALLOW_DUPLICATE
    return await books.temporal.start_workflow(BillCall.run, call, **options)


def said_by_vapi(call: EndedCall, seconds: int) -> EndedCall:
    assert call.ended_at is not None
    started_at = call.ended_at - timedelta(seconds=seconds)
    return as_api(replace(call, started_at=started_at, reported_seconds=Decimal(seconds)))


async def heard(books: Books, sid: str, status: str) -> MessageBill:
    """Hear of a message, and wait for what comes of it."""
    return await ended(await messages.report_statuses(books.temporal, sid, status))


def posting_of(answer: CallBill | MessageBill | Adjustment) -> Posting:
    assert answer.posting is not None
    return answer.posting


def answered(adjustment: dict[str, Any]) -> Answer:
    """What the API says of an adjustment: the shape's fields, all of them and no others."""
    assert set(adjustment["posting"]) == {field.name for field in fields(Posting)}
    key = f"adjustment:{adjustment['adjustment_id']}"
    return key, _POSTING.validate_python(adjustment["posting"])


async def refused(
    waiting: WorkflowHandle[Any, Any], bill: type[CallBill] | type[MessageBill]
) -> Posting:
    """What the ledger last answered a workflow that waits: it is in its history."""
    answers = [
        event.marker_recorded_event_attributes.details["result"].payloads
        async for event in waiting.fetch_history_events()
        if event.marker_recorded_event_attributes.marker_name == "core_local_activity"
    ]
    [last] = await DATA_CONVERTER.decode(answers[-1], [bill])
    return posting_of(last)


async def forget(books: Books, events: Sequence[WebhookEvent]) -> None:
    """Have events handled once more, as after a loss of Temporal's database."""
    statement = text("UPDATE webhook_events SET status = 'waiting' WHERE key = ANY(:keys)")
    async with books.api.engine.begin() as connection:
        await connection.execute(statement, {"keys": [event.key for event in events]})


async def has_answered(books: Books, workflow_id: str, answers: PostingCounts) -> bool:
    """Whether a drain's batches have come to these answers by now."""
    total = PostingCounts()
    async for event in books.temporal.get_workflow_handle(workflow_id).fetch_history_events():
        completed = event.activity_task_completed_event_attributes
        if completed.result.payloads:
            [one] = await DATA_CONVERTER.decode(completed.result.payloads, [_Drained])
            total += one.postings
    return total == answers
