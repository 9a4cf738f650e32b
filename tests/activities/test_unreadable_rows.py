"""A row that somebody has edited so that nobody can read it stops no batch that it is in."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import httpx
import pytest
import stripe
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine
from stripe import StripeClient
from temporalio import activity
from temporalio.client import (
    Client,
    Interceptor,
    ListWorkflowsInput,
    OutboundInterceptor,
    WorkflowExecutionAsyncIterator,
)
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import ActivityEnvironment

from activities.collection.collection import CollectionActivities
from activities.collection.sweep import SweepActivities, SweptPage
from activities.ledger.audit import AuditActivities
from activities.messages.message_batches import MessageLane
from activities.messages.twilio import TwilioApi
from activities.monitoring.watch import WatchActivities
from activities.parking.visibility import Visibility
from activities.reconciliation.runs import ReconciliationActivities, Review
from activities.reconciliation.stripe_saved_cards import look_at_cards
from billing.adjustments import Proposal
from billing.alerts.alert import AlertRecord
from billing.calls.call import EndedCall
from billing.collection import WaitingKind, WaitingSweep
from billing.ledger.audit import Check
from billing.platform_rules import PlatformRules
from billing.reconciliation.card_comparison import Recharged
from billing.reconciliation.reconciliation import Finding, FindingKind, RunStatus
from store import adjustments
from store.alerts import alerts
from store.calls import calls
from store.messages import messages
from tests.support.factories import (
    NOON,
    a_sender,
    a_sid,
    an_assistant,
    an_organization,
    credit,
    ended_call,
    now,
    unique,
)
from tests.support.faults import edit
from tests.support.inbox_events import accept, report_of
from tests.support.messages import seen_message
from tests.support.proposals import proposed
from tests.support.reconciliation_runs import a_run, record

TOO_LONG = "x" * 1000


async def told(engine: AsyncEngine) -> list[AlertRecord]:
    async with engine.connect() as connection:
        return (await alerts.page(connection, None, 100))[::-1]


async def titles(engine: AsyncEngine) -> list[str]:
    return [one.alert.title for one in await told(engine)]


# ---- the sweep


async def sweep(engine: AsyncEngine, temporal: Client, kind: WaitingKind) -> SweptPage:
    sweeping = SweepActivities(engine, Visibility(temporal))
    page = await ActivityEnvironment().run(sweeping.find_waiting, WaitingSweep(kind))
    assert isinstance(page, SweptPage)
    return page


async def waiting_call(engine: AsyncEngine, call_id: str, facts: str | None = None) -> None:
    """A call that has waited for hours, and has no process."""
    await edit(
        engine,
        "INSERT INTO calls (call_id, state, facts, workflow_id, updated_at) VALUES (:call_id,"
        " 'unknown_duration', CAST(:facts AS jsonb), '', now() - interval '2 hours')",
        call_id=call_id,
        facts=facts or f'{{"call_id": "{call_id}"}}',
    )


@pytest.mark.parametrize("facts", ["[]", '{"call_id": null}', None])
async def test_a_call_of_which_no_process_can_be_begun_is_told_and_the_sweep_goes_on(
    engine_apart: AsyncEngine, temporal: Client, facts: str | None
) -> None:
    """Nobody can read what is known of it, or no process can have its name."""
    bad = unique("call_2") if facts else f"call_2{TOO_LONG}"
    good = [unique(f"call_{number}") for number in (1, 3)]
    for call_id, known in ((good[0], None), (bad, facts), (good[1], None)):
        await waiting_call(engine_apart, call_id, known)
    page = await sweep(engine_apart, temporal, WaitingKind.CALL)
    assert [one.call_id for one in page.calls] == good
    assert (page.sweep.looked_at, page.sweep.begun, page.sweep.unreadable) == (3, 2, 1)
    [alert] = await told(engine_apart)
    assert alert.alert.facts == (("Names", bad[:200]),)


async def test_a_wallet_with_as_much_as_a_column_holds_stops_no_sweep(
    engine_apart: AsyncEngine, temporal: Client
) -> None:
    org_id = await an_organization(engine_apart, debt_limit_minor=0)
    call = ended_call(await an_assistant(engine_apart, org_id))
    async with engine_apart.begin() as connection:
        await calls.charge(connection, [call])
    await edit(
        engine_apart,
        "UPDATE wallets SET balance_minor = :most, debt_limit_minor = 9",
        most=2**63 - 1,
    )
    page = await sweep(engine_apart, temporal, WaitingKind.CALL)
    assert page.payable == (org_id,)


async def test_a_message_that_nobody_can_read_stops_no_sweep(
    engine_apart: AsyncEngine, temporal: Client
) -> None:
    """Nor find its owner, for which it waits."""
    sids = sorted(a_sid() for _ in range(3))
    async with engine_apart.begin() as connection:
        await messages.observe(connection, [seen_message(sid, "sent") for sid in sids])
    await edit(
        engine_apart,
        "UPDATE messages SET state = 'unknown_sender', updated_at = now() - interval '2 hours',"
        " status = CASE WHEN sid = :bad THEN 'odd' ELSE status END",
        bad=sids[1],
    )
    page = await sweep(engine_apart, temporal, WaitingKind.MESSAGE)
    assert [one.sid for one in page.messages] == [sids[0], sids[2]]
    assert (page.sweep.looked_at, page.sweep.unreadable) == (3, 1)
    [alert] = await told(engine_apart)
    assert alert.alert.facts == (("Names", sids[1]),)


async def test_an_adjustment_that_nobody_can_read_stops_no_sweep(
    engine_apart: AsyncEngine, temporal: Client
) -> None:
    org_id, today = await an_organization(engine_apart), await now(engine_apart)
    asked_for: list[Proposal] = sorted(
        (proposed(org_id) for _ in range(3)), key=lambda one: one.adjustment_id
    )
    async with engine_apart.begin() as connection:
        for one in asked_for:
            await adjustments.create(connection, one, today, today + timedelta(days=7))
    bad = asked_for.pop(1).adjustment_id
    await edit(
        engine_apart,
        "UPDATE adjustments SET requested_at = now() - interval '2 hours', requested_by = CASE WHEN"
        " adjustment_id = :bad THEN '7' ELSE requested_by END",
        bad=bad,
    )
    page = await sweep(engine_apart, temporal, WaitingKind.ADJUSTMENT)
    assert page.proposals == tuple(asked_for)
    assert (page.sweep.looked_at, page.sweep.unreadable) == (3, 1)
    [alert] = await told(engine_apart)
    assert alert.alert.facts == (("Names", bad),)


class DeafTo(Interceptor):
    """Let Temporal's lists fail whenever they are asked for something."""

    def __init__(self, what: str) -> None:
        self._what = what

    def intercept_client(
        self,
        next: OutboundInterceptor,  # noqa: A002
    ) -> OutboundInterceptor:
        return _Deaf(next, self._what)


class _Deaf(OutboundInterceptor):
    def __init__(self, next_: OutboundInterceptor, what: str) -> None:
        super().__init__(next_)
        self._what = what

    def list_workflows(
        self,
        input: ListWorkflowsInput,  # noqa: A002
    ) -> WorkflowExecutionAsyncIterator:
        if self._what in (input.query or ""):
            raise RPCError("a broken shard", RPCStatusCode.INTERNAL, b"")
        return super().list_workflows(input)


def deaf(temporal: Client, what: str) -> Client:
    """A client of a Temporal that cannot list this."""
    config = temporal.config()
    config["interceptors"] = [DeafTo(what)]
    return Client(**config)


async def test_a_process_that_temporal_cannot_be_asked_about_stops_no_sweep_and_no_audit(
    engine_apart: AsyncEngine, temporal: Client
) -> None:
    good, bad = [unique(f"call_{number}") for number in (1, 3)], unique("call_2")
    for call_id in (*good, bad):
        await waiting_call(engine_apart, call_id)
    page = await sweep(engine_apart, deaf(temporal, bad), WaitingKind.CALL)
    assert [one.call_id for one in page.calls] == good
    assert page.sweep.unreadable == 1
    visibility = Visibility(deaf(temporal, bad))
    audit = AuditActivities(engine_apart, PlatformRules(), visibility)
    flaws = await ActivityEnvironment().run(audit.audit_ledger, NOON)
    named = {one.subject: one.check for one in flaws.flaws}
    assert named == {
        **{f"call/{call_id}": Check.WAITING_WITHOUT_PROCESS for call_id in good},
        f"call/{bad}": Check.NOT_CHECKED,
    }


async def test_a_list_that_temporal_cannot_give_at_all_is_a_fault(
    engine_apart: AsyncEngine, temporal: Client
) -> None:
    for _ in range(2):
        await waiting_call(engine_apart, unique("call"))
    with pytest.raises(RPCError):
        await sweep(engine_apart, deaf(temporal, ""), WaitingKind.CALL)


# ---- the watch


async def look(engine: AsyncEngine, temporal: Client, attempt: int = 1) -> list[str]:
    """Make a round; return what was told."""
    before = len(await told(engine))
    trying = ActivityEnvironment()
    trying.info = replace(trying.info, attempt=attempt)
    watching = WatchActivities(engine, Visibility(temporal), PlatformRules())
    count = await trying.run(watching.look, NOON + timedelta(minutes=before))
    news = (await titles(engine))[before:]
    assert count == len(news)
    return [one for one in news if "parked" not in one or "watch" in one]


async def test_rates_that_cannot_be_read_are_told_and_hide_no_balance_and_no_late_webhook(
    engine_apart: AsyncEngine, temporal: Client
) -> None:
    """Somebody has edited the time at which a call ended."""
    call = ended_call()
    await accept(engine_apart, report_of(call))
    await edit(
        engine_apart,
        """UPDATE webhook_events SET due_at = now() - interval '2 minutes',
           facts = facts || '{"ended_at": "soon"}'""",
    )
    org_id = await an_organization(engine_apart, 100)
    first = await look(engine_apart, temporal)
    assert sorted(first) == [
        "A webhook has waited in the inbox for 120 seconds",
        f"The balance of {org_id} is low: 1.00 GBP",
        "The watch cannot look at the success rates",
    ]
    assert await look(engine_apart, temporal) == []
    await edit(engine_apart, "UPDATE webhook_events SET status = 'handled', facts = NULL")
    assert await look(engine_apart, temporal) == [
        "The inbox is drained again",
        "The watch can look at the success rates again",
    ]


async def test_a_balance_that_cannot_be_read_is_told_and_hides_no_other(
    engine_apart: AsyncEngine, temporal: Client
) -> None:
    """Its alarm is as deep as none can be."""
    bad, *good = [await an_organization(engine_apart, 100) for _ in range(3)]
    await edit(
        engine_apart,
        "INSERT INTO alarms (alarm, raised, depth) VALUES (:alarm, true, -7)",
        alarm=f"balance:{bad}",
    )
    news = await look(engine_apart, temporal)
    assert sorted(news) == [
        *sorted(f"The balance of {org_id} is low: 1.00 GBP" for org_id in good),
        "The watch cannot look at balances",
    ]
    assert (await told(engine_apart))[-1].alert.facts == ((bad, "ValueError"),)


async def test_what_temporal_cannot_list_is_told_when_it_lasts_and_hides_no_balance(
    engine_apart: AsyncEngine, temporal: Client
) -> None:
    org_id, broken = await an_organization(engine_apart, 100), deaf(temporal, "")
    for attempt in (1, 2):
        with pytest.raises(RPCError):
            await look(engine_apart, broken, attempt)
    assert sorted(await look(engine_apart, broken, 3)) == [
        f"The balance of {org_id} is low: 1.00 GBP",
        "The watch cannot look at what is parked",
        "The watch cannot look at workflows whose code fails",
    ]
    assert sorted(await look(engine_apart, temporal)) == [
        "The watch can look at what is parked again",
        "The watch can look at workflows whose code fails again",
    ]


async def test_a_watch_that_can_look_at_nothing_fails(
    engine_apart: AsyncEngine, temporal: Client
) -> None:
    await edit(engine_apart, "ALTER TABLE webhook_events RENAME TO lost")
    await edit(engine_apart, "ALTER TABLE alarms RENAME COLUMN depth TO lost")
    with pytest.raises((RPCError, ProgrammingError)):
        await look(engine_apart, deaf(temporal, ""), 3)


# ---- reconciliation


@pytest.mark.parametrize(
    "edited",
    ["facts = '[]'", "facts = NULL, due = '7'", "kind = 'odd'", "outcome = 'open', due = '7'"],
)
async def test_a_finding_that_nobody_can_read_is_handed_on_by_its_name(
    engine_apart: AsyncEngine, edited: str
) -> None:
    found = [
        Finding(unique("call"), FindingKind.MISSING, NOON, due=("never",), call=EndedCall("call"))
        for _ in range(3)
    ]
    run = await record(engine_apart, a_run(), None, *found, status=RunStatus.RUNNING)
    bad = found[1].subject
    await edit(
        engine_apart,
        f"UPDATE reconciliation_findings SET {edited} WHERE subject = :bad",  # noqa: S608
        bad=bad,
    )
    activities = ReconciliationActivities(engine_apart)
    portion = await ActivityEnvironment().run(activities.next_findings, run.run_id)
    assert [one.subject for one in portion] == [one.subject for one in found]
    assert portion[1].detail == "what was found cannot be read any more"
    reviewing = Review(run.run_id, tuple(one.subject for one in found), last=True)
    assert await ActivityEnvironment().run(activities.review, reviewing) == 0


@asynccontextmanager
async def stripe_says(customers: Mapping[str, object]) -> AsyncIterator[StripeClient]:
    """A Stripe that has these customers, and says of each whatever it says."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        body = json.dumps(customers[path.rpartition("/")[2]]).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1")
    host, port = server.sockets[0].getsockname()
    http = stripe.HTTPXClient(timeout=20)
    async with server:
        yield StripeClient(
            "sk_test", base_addresses={"api": f"http://{host}:{port}"}, http_client=http
        )
        await http.close_async()  # type: ignore[no-untyped-call]


async def test_a_customer_of_whom_stripe_says_what_cannot_be_read_hides_no_other() -> None:
    ids = [f"cus_{number}" for number in range(3)]
    gone = {one: {"id": one, "object": "customer", "deleted": True} for one in ids}
    told_of = {**gone, ids[1]: {"id": ids[1], "object": "customer"}}
    page = [Recharged(f"org_of_{one}", one) for one in ids]
    async with stripe_says(told_of) as client:
        look_at = partial(look_at_cards, client, page, NOON, dry_run=True)

        @activity.defn
        async def look_at_all() -> Any:
            return await look_at()

        looked = await ActivityEnvironment().run(look_at_all)
    assert [one.ours for one in looked.done] == [page[0], page[2]]
    assert looked.alone == (page[1],)


# ---- collect, and messages


async def test_a_message_that_nobody_can_read_holds_up_nothing_that_can_be_paid(
    engine_apart: AsyncEngine,
) -> None:
    org_id = await an_organization(engine_apart, debt_limit_minor=0)
    await a_sender(engine_apart, org_id)
    call = ended_call(await an_assistant(engine_apart, org_id))
    async with engine_apart.begin() as connection:
        await calls.charge(connection, [call])
        await messages.observe(connection, [seen_message(a_sid(), "sent")])
    await edit(
        engine_apart,
        "UPDATE messages SET state = 'debt_limit', org_id = :org_id, amount_minor = 5,"
        " currency = 'gbp', status = 'odd'",
        org_id=org_id,
    )
    await credit(engine_apart, org_id, 1000)
    collecting = CollectionActivities(engine_apart, PlatformRules())
    collected: Any = await ActivityEnvironment().run(collecting.collect, org_id)
    assert collected.call_ids == (call.call_id,)


async def test_an_overdue_message_that_nobody_can_read_is_told_and_holds_up_no_other(
    engine_apart: AsyncEngine,
) -> None:
    sids = [a_sid() for _ in range(3)]
    async with engine_apart.begin() as connection:
        await messages.observe(connection, [seen_message(sid, "sent") for sid in sids])
    await edit(
        engine_apart,
        "UPDATE messages SET watch_at = now() - interval '1 minute',"
        " status = CASE WHEN sid = :bad THEN 'odd' ELSE status END",
        bad=sids[1],
    )
    async with httpx.AsyncClient() as nobody:
        lane = MessageLane(engine_apart, TwilioApi(nobody, {}), PlatformRules())
        drained: Any = await ActivityEnvironment().run(lane.drain_messages)
    assert {one.sid for one in drained.messages} == {sids[0], sids[2]}
    assert [one.alert.key for one in await told(engine_apart)] == [f"unwritable:message {sids[1]}"]
