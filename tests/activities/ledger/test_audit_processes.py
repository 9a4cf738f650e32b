"""What waits in the database, and has no process that waits for it, is named; nothing else is."""

from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from activities.ledger.audit import AuditActivities
from activities.parking.visibility import Visibility
from billing.ledger.audit import Check, Flaw
from billing.platform_rules import PlatformRules
from tests.activities.ledger.test_audit import audited
from tests.support.eventually import eventually
from tests.support.factories import an_organization, unique

# What waits since a time, and the process that should wait for it.
WAITING = {
    "a call of nobody's": (
        "INSERT INTO calls (call_id, state, facts, workflow_id, updated_at)"
        " VALUES (:id, 'unknown_duration', '{}', '', :since)",
        "call/{id}",
    ),
    "a call": (
        "INSERT INTO calls (call_id, org_id, state, facts, workflow_id, updated_at)"
        " VALUES (:id, :org_id, 'debt_limit', '{}', '', :since)",
        "call/{id}",
    ),
    "a message": (
        "INSERT INTO messages (sid, account_sid, org_id, status, status_rank, state, workflow_id,"
        " updated_at) VALUES (:id, 'AC1', :org_id, 'sent', 5, 'no_tariff', '', :since)",
        "sms/{id}",
    ),
    "an adjustment": (
        "INSERT INTO adjustments (adjustment_id, org_id, direction, amount_minor, currency,"
        " account, reason, allow_below_limit, needs_approval, requested_by, requested_at,"
        " expires_at, state) VALUES (:id, :org_id, 'credit', 1, 'gbp', 'adjustments', 'a test',"
        " false, true, '{}', :since, :since, 'pending')",
        "adjustment/{id}",
    ),
    "a recharge": (
        "INSERT INTO recharge_attempts (attempt_id, org_id, number, state, amount_minor, currency,"
        " customer_id, payment_method_id, card_fingerprint, created_at, written_at)"
        " VALUES (:id, :org_id, 1, 'open', 5, 'gbp', 'cus', 'pm', 'card', :since, :since)",
        "recharge/{org_id}",
    ),
}
HOURS = timedelta(hours=2)


async def waits(engine: AsyncEngine, what: str, since: timedelta = HOURS) -> str:
    """Let something wait; return the id of the process that should."""
    statement, workflow_id = WAITING[what]
    names = {"id": unique("it"), "org_id": await an_organization(engine)}
    async with engine.begin() as connection:
        now = await connection.scalar(text("SELECT now()"))
        await connection.execute(text(statement), {**names, "since": now - since})
    return workflow_id.format_map(names)


async def begin(temporal: Client, workflow_id: str) -> None:
    """Start a process of that name, which nobody works on: it runs, and is listed."""
    await temporal.start_workflow("Nothing", id=workflow_id, task_queue=unique("queue"))
    visibility = Visibility(temporal)
    assert await eventually(lambda: visibility.running([workflow_id]))


async def missed(engine: AsyncEngine, temporal: Client) -> list[Flaw]:
    audit = AuditActivities(engine, PlatformRules(), Visibility(temporal))
    return [one for one in await audit.abandoned() if one.check is Check.WAITING_WITHOUT_PROCESS]


@pytest.mark.parametrize("what", WAITING)
async def test_what_waits_and_has_no_process_is_named(
    engine_apart: AsyncEngine, temporal: Client, what: str
) -> None:
    workflow_id = await waits(engine_apart, what)
    [flaw] = await missed(engine_apart, temporal)
    assert flaw.subject == workflow_id
    await begin(temporal, workflow_id)
    assert await missed(engine_apart, temporal) == []
    await temporal.get_workflow_handle(workflow_id).terminate("a test")
    [flaw] = await eventually(lambda: missed(engine_apart, temporal))
    assert flaw.subject == workflow_id


@pytest.mark.parametrize("what", WAITING)
async def test_what_waits_since_a_moment_may_get_its_process_yet(
    engine_apart: AsyncEngine, temporal: Client, what: str
) -> None:
    await waits(engine_apart, what, since=timedelta(minutes=50))
    assert await missed(engine_apart, temporal) == []


async def test_more_than_a_page_is_looked_at(engine_apart: AsyncEngine, temporal: Client) -> None:
    ids = {await waits(engine_apart, "a call") for _ in range(3)}
    audit = AuditActivities(engine_apart, PlatformRules(), Visibility(temporal), page=2)
    assert {flaw.subject for flaw in await audit.abandoned()} == ids


async def test_the_audit_names_it_among_all_else(
    engine_apart: AsyncEngine, temporal: Client
) -> None:
    workflow_id = await waits(engine_apart, "a call")
    assert [one.subject for one in (await audited(engine_apart, temporal)).flaws] == [workflow_id]
