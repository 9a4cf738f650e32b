"""A fault at each step of each batch: what fails alone is set aside, and if all fail nothing moves.

The faults are those of a real PostgreSQL which cannot write a row (`tests/support/faults.py`). What
cannot be read or decided is in `tests/activities/test_unreadable_rows.py`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from activities.alerts.outbox import AlertActivities
from activities.collection.collection import CollectionActivities
from activities.inbox import batches
from activities.inbox.inbox import InboxActivities
from activities.inbox.retention import RetentionActivities
from activities.messages.message_batches import MessageLane
from activities.messages.twilio import TwilioApi
from activities.monitoring.watch import WatchActivities
from activities.parking.visibility import Visibility
from activities.reconciliation.isolation import add_findings
from activities.reconciliation.runs import ReconciliationActivities, Review
from activities.reconciliation.stripe_saved_cards import LookedAt, mend
from billing.calls.call import EndedCall
from billing.calls.call_in_progress import OngoingCall
from billing.inbox.retention import Sweep
from billing.ledger.money import Currency
from billing.platform_rules import PlatformRules
from billing.reconciliation.card_comparison import CardAtStripe, CustomerState, Recharged
from billing.reconciliation.reconciliation import Finding, FindingKind, RunStatus
from store.alerts import alerts
from store.calls import calls, calls_in_progress
from store.messages import messages
from store.organizations import api_keys, organizations
from store.payments import customers
from store.reconciliation import runs
from tests.support.factories import (
    NOON,
    an_alert,
    an_assistant,
    an_organization,
    credit,
    ended_call,
)
from tests.support.faults import Whom, edit, heal, refuse, refuse_to_commit
from tests.support.inbox_events import accept, report_of
from tests.support.messages import callback_of, seen_message
from tests.support.reconciliation_runs import a_run, record

BAD = "bad"
GOOD = [f"good{number}" for number in range(3)]
NAMES = [*GOOD[:2], BAD, *GOOD[2:]]
RUN = replace(a_run(), run_id="run")


async def in_an_activity(do: Callable[..., Awaitable[Any]], *given: Any) -> Any:
    """Run it as its last try: a fault that goes away by itself would have gone by now."""
    trying = ActivityEnvironment()
    trying.info = replace(trying.info, attempt=3)
    return await trying.run(do, *given)


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a batch, and the fault at it.

    `begin` makes the rows, `work` is the batch, `moved` are the names for which it has done its
    work, as a query says. PostgreSQL fails at `operation` on `table` for the row of which `of_one`
    is true. `raises`: when all others are done, the activity fails, so that its process shows it.
    """

    begin: Callable[[AsyncEngine], Awaitable[None]]
    work: Callable[[AsyncEngine, Client], Awaitable[Any]]
    moved: str
    operation: str
    table: str
    of_one: str
    raises: bool = False


# ---- calls


async def reports(engine: AsyncEngine, *, ownerless: str = "") -> None:
    """Let reports be due, of an organisation that can pay."""
    org_id = await an_organization(engine, 10_000, org_id="rich")
    assistant = await an_assistant(engine, org_id)
    events = [
        report_of(ended_call("nobody's" if name == ownerless else assistant, call_id=name))
        for name in NAMES
    ]
    await accept(engine, *events)


async def drain(engine: AsyncEngine, _: Client) -> Any:
    return await in_an_activity(InboxActivities(engine).drain)


HANDLED = "SELECT subject FROM webhook_events WHERE status = 'handled'"
LATER = "SELECT subject FROM webhook_events WHERE due_at > now()"
CHARGED = "SELECT substr(key, 6) FROM ledger_entries WHERE kind = 'call'"
DRAIN = partial(Step, reports, drain, HANDLED)


async def nobodys_reports(engine: AsyncEngine) -> None:
    await accept(engine, *(report_of(ended_call("nobody's", call_id=name)) for name in NAMES))


async def overdue(engine: AsyncEngine) -> None:
    """Let calls have ended long ago, by what was told of their beginning."""
    async with engine.begin() as connection:
        ongoing = [OngoingCall(name, "assistant", None, -1.0) for name in NAMES]
        await calls_in_progress.note(connection, ongoing)


async def overdue_and_seen_to(engine: AsyncEngine) -> None:
    await overdue(engine)
    await edit(
        engine,
        "INSERT INTO calls (call_id, state, facts, workflow_id)"
        " SELECT call_id, 'unknown_duration', '{}', '' FROM calls_in_progress",
    )


ASKED = "SELECT call_id FROM calls_in_progress WHERE due_at > now()"
FORGOTTEN = """SELECT name FROM unnest(CAST('{good0,good1,bad,good2}' AS text[])) AS name
    WHERE name NOT IN (SELECT call_id FROM calls_in_progress)"""


async def waiting(engine: AsyncEngine) -> None:
    """Let calls wait for money, which then comes."""
    org_id = await an_organization(engine, debt_limit_minor=0, org_id="rich")
    assistant = await an_assistant(engine, org_id)
    async with engine.begin() as connection:
        await calls.charge(connection, [ended_call(assistant, call_id=name) for name in NAMES])
    await credit(engine, org_id, 10_000)


async def collect(engine: AsyncEngine, _: Client) -> Any:
    collecting = CollectionActivities(engine, PlatformRules())
    return await in_an_activity(collecting.collect, "rich")


COLLECT = partial(Step, waiting, collect, CHARGED)

# ---- messages


async def callbacks(engine: AsyncEngine) -> None:
    await accept(engine, *(callback_of(seen_message(name, "queued")) for name in NAMES))


async def drain_messages(engine: AsyncEngine, _: Client) -> Any:
    async with httpx.AsyncClient() as nobody:
        lane = MessageLane(engine, TwilioApi(nobody, {}), PlatformRules())
        return await in_an_activity(lane.drain_messages)


async def unwatched(engine: AsyncEngine) -> None:
    """Let the ends of messages be overdue."""
    async with engine.begin() as connection:
        await messages.observe(connection, [seen_message(name, "queued") for name in NAMES])
    await edit(engine, "UPDATE messages SET watch_at = now() - interval '1 minute'")


WATCHED = "SELECT sid FROM messages WHERE watch_at > now()"
DRAIN_MESSAGES = partial(Step, callbacks, drain_messages, HANDLED)

# ---- what is not kept for ever


async def old_bodies(engine: AsyncEngine) -> None:
    await accept(engine, *(report_of(ended_call(call_id=name)) for name in NAMES))
    await edit(
        engine,
        "UPDATE webhook_events SET status = 'handled', received_at = now() - interval '60 days'",
    )


async def prune(engine: AsyncEngine, _: Client) -> Any:
    pruning = RetentionActivities(engine, PlatformRules(keep_bodies_days=30))
    return await in_an_activity(pruning.empty_bodies, Sweep())


async def old_keys(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        caller = (await api_keys.create(connection, "ann", "secret", None, "Ann")).key_id
    await edit(
        engine,
        "INSERT INTO idempotency_keys (caller, key, request_sha256, claimed_until)"
        " SELECT :caller, name, '', now() - interval '31 days'"
        " FROM unnest(CAST(:names AS text[])) AS name",
        caller=caller,
        names=NAMES,
    )


async def forget(engine: AsyncEngine, _: Client) -> Any:
    """Forget keys. The names of keys are their senders', so that one is named by its caller."""
    forgetting = RetentionActivities(engine, PlatformRules())
    swept: Sweep = await in_an_activity(forgetting.forget_keys, Sweep())
    return f"{swept} {BAD if swept.unforgotten_keys == 1 else ''}"


EMPTIED = "SELECT subject FROM webhook_events WHERE body = ''"
GONE = """SELECT name FROM unnest(CAST('{good0,good1,bad,good2}' AS text[])) AS name
    WHERE name NOT IN (SELECT key FROM idempotency_keys)"""

# ---- reconciliation


def a_finding(name: str) -> Finding:
    return Finding(name, FindingKind.MISSING, NOON, due=("never",), call=EndedCall(name))


async def opened(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await runs.open_run(connection, RUN)


async def record_page(engine: AsyncEngine, _: Client) -> Any:
    @activity.defn
    async def add() -> None:
        async with engine.begin() as connection:
            await add_findings(connection, RUN, [a_finding(name) for name in NAMES])

    return await in_an_activity(add)


async def recorded(engine: AsyncEngine) -> None:
    await record(engine, RUN, None, *map(a_finding, NAMES), status=RunStatus.RUNNING)


async def hand_on(engine: AsyncEngine, _: Client) -> Any:
    return await in_an_activity(ReconciliationActivities(engine).next_findings, RUN.run_id)


async def review(engine: AsyncEngine, _: Client) -> Any:
    looking = Review(RUN.run_id, tuple(NAMES), last=True)
    return await in_an_activity(ReconciliationActivities(engine).review, looking)


async def deleted_customers(engine: AsyncEngine) -> None:
    """Let customers be kept that were deleted at Stripe."""
    async with engine.begin() as connection:
        for name in NAMES:
            await organizations.create(connection, name, name, Currency.GBP, 0)
            await customers.remember(connection, name, f"cus_{name}")


async def mend_cards(engine: AsyncEngine, _: Client) -> Any:
    gone = CardAtStripe(CustomerState.DELETED)
    seen = [LookedAt(Recharged(name, f"cus_{name}"), gone, None) for name in NAMES]

    @activity.defn
    async def mend_all() -> str:
        async with engine.begin() as connection:
            return str(await mend(connection, seen))

    return await in_an_activity(mend_all)


FORMER = "SELECT org_id FROM former_customers"
FOUND = "SELECT subject FROM reconciliation_findings"
HANDED_ON = f"{FOUND} WHERE handed_on_at IS NOT NULL"
REVIEWED = f"{FOUND} WHERE outcome = 'waiting'"

# ---- alerts


async def untold(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        for name in NAMES:
            await alerts.tell(connection, replace(an_alert(), key=name))


async def deliver(engine: AsyncEngine, _: Client) -> Any:
    return await in_an_activity(AlertActivities(engine, None).deliver)


TOLD = "SELECT key FROM alerts WHERE delivered_at IS NOT NULL"

# ---- the watch


async def low_balances(engine: AsyncEngine) -> None:
    for name in NAMES:
        await an_organization(engine, 100, org_id=name)


ALARMED = "SELECT substr(alarm, 9) FROM alarms WHERE alarm LIKE 'balance:%' AND raised"


async def watch(engine: AsyncEngine, temporal: Client) -> Any:
    watching = WatchActivities(engine, Visibility(temporal), PlatformRules())
    return await in_an_activity(watching.look, NOON)


IS_BAD = f"NEW.subject = '{BAD}'"
STEPS = {
    "the drain: an entry": DRAIN("INSERT", "ledger_entries", f"NEW.key = 'call:{BAD}'"),
    "the drain: a call": DRAIN("INSERT", "calls", f"NEW.call_id = '{BAD}'"),
    "the drain: an event is handled": DRAIN("UPDATE", "webhook_events", IS_BAD),
    "the drain: an event is left to its process": Step(
        nobodys_reports, drain, LATER, "UPDATE", "webhook_events", IS_BAD
    ),
    "the drain: an overdue call": Step(
        overdue, drain, ASKED, "UPDATE", "calls_in_progress", f"NEW.call_id = '{BAD}'"
    ),
    "the drain: an overdue call that is seen to": Step(
        overdue_and_seen_to,
        drain,
        FORGOTTEN,
        "DELETE",
        "calls_in_progress",
        f"OLD.call_id = '{BAD}'",
    ),
    "the drain of messages: a message": DRAIN_MESSAGES("INSERT", "messages", f"NEW.sid = '{BAD}'"),
    "the drain of messages: an event is taken": DRAIN_MESSAGES("UPDATE", "webhook_events", IS_BAD),
    "the drain of messages: an event is handled": DRAIN_MESSAGES(
        "UPDATE", "webhook_events", f"{IS_BAD} AND NEW.status = 'handled'"
    ),
    "the drain of messages: an overdue message": Step(
        unwatched, drain_messages, WATCHED, "UPDATE", "messages", f"NEW.sid = '{BAD}'"
    ),
    "collect: an entry": COLLECT("INSERT", "ledger_entries", f"NEW.key = 'call:{BAD}'"),
    "collect: a call": COLLECT("UPDATE", "calls", f"NEW.call_id = '{BAD}'"),
    "prune: a body": Step(old_bodies, prune, EMPTIED, "UPDATE", "webhook_events", IS_BAD),
    "prune: a key": Step(
        old_keys, forget, GONE, "DELETE", "idempotency_keys", f"OLD.key = '{BAD}'"
    ),
    "reconciliation: a finding is recorded": Step(
        opened, record_page, FOUND, "INSERT", "reconciliation_findings", IS_BAD
    ),
    "reconciliation: a finding is handed on": Step(
        recorded, hand_on, HANDED_ON, "UPDATE", "reconciliation_findings", IS_BAD
    ),
    "reconciliation: a finding is judged": Step(
        recorded, review, REVIEWED, "UPDATE", "reconciliation_findings", IS_BAD, raises=True
    ),
    "reconciliation: a card is mended": Step(
        deleted_customers, mend_cards, FORMER, "DELETE", "stripe_customers", f"OLD.org_id = '{BAD}'"
    ),
    "alerts: one is marked as delivered": Step(
        untold, deliver, TOLD, "UPDATE", "alerts", f"NEW.key = '{BAD}'", raises=True
    ),
    "the watch: an alarm": Step(
        low_balances, watch, ALARMED, "INSERT", "alarms", f"NEW.alarm = 'balance:{BAD}'"
    ),
}


async def names(engine: AsyncEngine, query: str) -> set[str]:
    async with engine.connect() as connection:
        return set(await connection.scalars(text(query)))


async def seen_by_people(engine: AsyncEngine, caplog: pytest.LogCaptureFixture) -> str:
    """What people can see: alerts and the worker's log, in which events have numbers."""
    numbered = "SELECT event_id FROM webhook_events WHERE subject = 'bad'"
    async with engine.connect() as connection:
        told = [one.alert for one in await alerts.page(connection, None, 100)]
        number = await connection.scalar(text(numbered))
    said = f"{told} {caplog.text}"
    return f"{said} {BAD if number and f'event {number} ' in said else ''}"


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let drains not linger for events to gather."""
    monkeypatch.setattr(batches, "LINGER_ROUNDS", 1)
    monkeypatch.setattr(batches, "LINGER_SECONDS", 0)


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS.keys())
async def test_where_all_fail_nothing_moves_and_what_fails_alone_is_set_aside_and_named(
    engine_apart: AsyncEngine, temporal: Client, step: Step, caplog: pytest.LogCaptureFixture
) -> None:
    await step.begin(engine_apart)
    await refuse(engine_apart, step.operation, step.table, step.of_one, Whom.ALL)
    with pytest.raises(DBAPIError):
        await step.work(engine_apart, temporal)
    assert await names(engine_apart, step.moved) == set()
    assert await names(engine_apart, CHARGED) == set()

    await heal(engine_apart, step.table)
    await edit(engine_apart, "UPDATE webhook_events SET due_at = now() WHERE status = 'waiting'")
    await refuse(engine_apart, step.operation, step.table, step.of_one, Whom.ONE)
    caplog.clear()
    if step.raises:
        with pytest.raises(DBAPIError):
            await step.work(engine_apart, temporal)
        shown = BAD
    else:
        shown = str(await step.work(engine_apart, temporal))
    assert await names(engine_apart, step.moved) == set(GOOD)
    assert BAD in f"{shown} {await seen_by_people(engine_apart, caplog)}"


# What each batch writes in the transaction that is its own.
COMMITS = {
    "the drain": DRAIN("INSERT", "ledger_entries", ""),
    "the drain of messages": DRAIN_MESSAGES("UPDATE", "webhook_events", ""),
    "collect": COLLECT("INSERT", "ledger_entries", ""),
    "prune: bodies": Step(old_bodies, prune, EMPTIED, "UPDATE", "webhook_events", ""),
    "prune: keys": Step(old_keys, forget, GONE, "DELETE", "idempotency_keys", ""),
    "reconciliation": Step(opened, record_page, FOUND, "INSERT", "reconciliation_findings", ""),
    "alerts": Step(untold, deliver, TOLD, "UPDATE", "alerts", ""),
    "the watch": Step(low_balances, watch, ALARMED, "INSERT", "alarms", ""),
}


@pytest.mark.parametrize("step", COMMITS.values(), ids=COMMITS.keys())
async def test_what_cannot_be_committed_has_not_moved_and_is_raised(
    engine_apart: AsyncEngine, temporal: Client, step: Step
) -> None:
    await step.begin(engine_apart)
    await refuse_to_commit(engine_apart, step.operation, step.table)
    with pytest.raises(DBAPIError):
        await step.work(engine_apart, temporal)
    assert await names(engine_apart, step.moved) == set()
    assert await names(engine_apart, CHARGED) == set()


async def test_an_event_that_nobody_can_write_is_charged_once_and_holds_up_no_later_drain(
    engine_apart: AsyncEngine, temporal: Client
) -> None:
    await reports(engine_apart)
    await refuse(engine_apart, "UPDATE", "webhook_events", IS_BAD, Whom.ONE)
    for _ in range(2):
        await drain(engine_apart, temporal)
        assert await names(engine_apart, CHARGED) == set(NAMES)
        assert await names(engine_apart, HANDLED) == set(GOOD)
        await accept(engine_apart, report_of(ended_call("nobody's")))
