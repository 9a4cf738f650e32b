"""A row changed by hand is found by the next audit, and named; and nothing else is."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from activities.ledger.audit import AuditActivities
from activities.parking.visibility import Visibility
from billing.ledger.audit import Audit, Check
from billing.platform_rules import PlatformRules
from store.alerts import alerts
from store.calls import calls
from store.ledger import audit
from tests.support.factories import an_assistant, an_organization, ended_call, unique
from tests.support.inbox_events import accept, report_of

NIGHT = datetime(2026, 11, 2, 3, 40, tzinfo=UTC)


async def audited(engine: AsyncEngine, temporal: Client, hours: int = 0) -> Audit:
    activity = AuditActivities(engine, PlatformRules(), Visibility(temporal)).audit_ledger
    return await ActivityEnvironment().run(activity, NIGHT + timedelta(hours=hours))


async def flaws(engine: AsyncEngine, temporal: Client) -> set[tuple[Check, str]]:
    return {(flaw.check, flaw.subject) for flaw in (await audited(engine, temporal)).flaws}


async def told(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as connection:
        return [alert.title for alert in await alerts.pending(connection, 100)]


async def by_hand(engine: AsyncEngine, *statements: str, **given: str) -> None:
    """Change rows as somebody could who may switch the ledger's triggers off."""
    async with engine.begin() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        for statement in statements:
            await connection.execute(text(statement), given)


async def billed(engine: AsyncEngine, count: int = 3) -> tuple[str, list[str]]:
    """An organisation with this many one-minute calls, charged."""
    org_id = await an_organization(engine, 10_000)
    assistant = await an_assistant(engine, org_id)
    ended = [ended_call(assistant, 60) for _ in range(count)]
    async with engine.begin() as connection:
        await calls.charge(connection, ended)
    return org_id, [call.call_id for call in ended]


async def test_books_that_agree_have_no_flaws(engine_apart: AsyncEngine, temporal: Client) -> None:
    await billed(engine_apart)
    result = await audited(engine_apart, temporal)
    assert (result.wallets, result.entries, result.flaws) == (1, 4, ())
    assert await told(engine_apart) == []


async def test_a_balance_changed_by_hand_is_named(
    engine_apart: AsyncEngine, temporal: Client
) -> None:
    await billed(engine_apart)
    org_id, _ = await billed(engine_apart)
    await by_hand(
        engine_apart,
        "UPDATE wallets SET balance_minor = balance_minor + 100 WHERE org_id = :org_id",
        org_id=org_id,
    )
    result = await audited(engine_apart, temporal)
    [flaw] = result.flaws
    assert (flaw.check, flaw.subject, flaw.org_id) == (Check.BALANCE, org_id, org_id)
    assert flaw.detail == "the balance is 9932, its entries come to 9832"


async def test_an_entry_changed_by_hand_is_named_though_the_balance_was_changed_with_it(
    engine_apart: AsyncEngine, temporal: Client
) -> None:
    org_id, [_, second, _] = await billed(engine_apart)
    key = f"call:{second}"
    await by_hand(
        engine_apart,
        "UPDATE ledger_entries SET amount_minor = 6 WHERE key = :key",
        "UPDATE wallets SET balance_minor = balance_minor + 50 WHERE org_id = :org_id",
        key=key,
        org_id=org_id,
    )
    assert await flaws(engine_apart, temporal) == {
        (Check.CHAIN, key),
        (Check.CALL_OF_OTHER_AMOUNT, second),
    }


async def test_an_entry_deleted_by_hand_is_missed_by_its_call(
    engine_apart: AsyncEngine, temporal: Client
) -> None:
    org_id, [first, second, _] = await billed(engine_apart)
    await by_hand(engine_apart, "DELETE FROM ledger_entries WHERE key = :key", key=f"call:{first}")
    assert await flaws(engine_apart, temporal) == {
        (Check.BALANCE, org_id),
        (Check.CHAIN, f"call:{second}"),
        (Check.CALL_WITHOUT_ENTRY, first),
    }


async def test_a_call_deleted_or_changed_by_hand_is_named(
    engine_apart: AsyncEngine, temporal: Client
) -> None:
    _, [first, second, _] = await billed(engine_apart)
    await by_hand(
        engine_apart,
        "DELETE FROM calls WHERE call_id = :first",
        "UPDATE calls SET amount_minor = 1 WHERE call_id = :second",
        first=first,
        second=second,
    )
    assert await flaws(engine_apart, temporal) == {
        (Check.ENTRY_WITHOUT_CALL, f"call:{first}"),
        (Check.CALL_OF_OTHER_AMOUNT, second),
    }


async def test_a_report_that_was_handled_and_came_to_nothing_is_named(
    engine_apart: AsyncEngine, temporal: Client
) -> None:
    call = ended_call(unique("assistant"))
    await accept(engine_apart, report_of(call))
    assert await flaws(engine_apart, temporal) == set()
    await by_hand(engine_apart, "UPDATE webhook_events SET status = 'handled'")
    assert await flaws(engine_apart, temporal) == {(Check.REPORT_WITHOUT_CALL, call.call_id)}


async def test_a_message_and_its_entries_need_each_other(
    engine_apart: AsyncEngine, temporal: Client
) -> None:
    org_id, [first, *_] = await billed(engine_apart, 1)
    await by_hand(
        engine_apart,
        "INSERT INTO messages (sid, account_sid, org_id, status, status_rank, state, amount_minor,"
        " currency, workflow_id)"
        " VALUES ('SM1', 'AC1', :org_id, 'sent', 5, 'charged', 4, 'gbp', '')",
        "UPDATE ledger_entries SET key = 'sms:SM2', kind = 'sms', credit_account = 'usage:sms'"
        " WHERE key = :key",
        "DELETE FROM calls",
        org_id=org_id,
        key=f"call:{first}",
    )
    assert await flaws(engine_apart, temporal) == {
        (Check.MESSAGE_WITHOUT_ENTRY, "SM1"),
        (Check.ENTRY_WITHOUT_MESSAGE, "sms:SM2"),
    }


async def test_an_adjustment_and_its_entry_need_each_other(
    engine_apart: AsyncEngine, temporal: Client
) -> None:
    await billed(engine_apart)
    await by_hand(
        engine_apart,
        "UPDATE ledger_entries SET key = 'adjustment:nobody' WHERE key LIKE 'credit_%'",
    )
    assert await flaws(engine_apart, temporal) == {
        (Check.ENTRY_WITHOUT_ADJUSTMENT, "adjustment:nobody")
    }


async def test_what_is_found_is_told_once_and_so_is_that_it_is_gone(
    engine_apart: AsyncEngine, temporal: Client
) -> None:
    org_id, _ = await billed(engine_apart)
    change = "UPDATE wallets SET balance_minor = balance_minor {} 1 WHERE org_id = :org_id"
    await by_hand(engine_apart, change.format("+"), org_id=org_id)
    for hours in range(3):
        await audited(engine_apart, temporal, hours)
    assert await told(engine_apart) == ["The audit found 1 rows that do not agree"]

    await by_hand(engine_apart, change.format("-"), org_id=org_id)
    for hours in range(3, 6):
        await audited(engine_apart, temporal, hours)
    assert (await told(engine_apart))[1:] == ["1 rows that did not agree do so again"]
    async with engine_apart.connect() as connection:
        kept = await audit.page(connection, None, 10)
    assert [len(one.flaws) for one in kept] == [0, 0, 0, 1, 1, 1]


async def test_money_that_moves_meanwhile_is_no_flaw(
    engine_apart: AsyncEngine, temporal: Client
) -> None:
    org_id = await an_organization(engine_apart, 1_000_000)
    assistant = await an_assistant(engine_apart, org_id)

    async def charge_much() -> None:
        for _ in range(60):
            async with engine_apart.begin() as connection:
                await calls.charge(connection, [ended_call(assistant, 60) for _ in range(5)])

    async def audit_often() -> list[Audit]:
        return [await audited(engine_apart, temporal, hours) for hours in range(10)]

    audits, *_ = await asyncio.gather(audit_often(), charge_much(), charge_much())
    assert [one.flaws for one in audits] == [()] * 10


@pytest.mark.parametrize("count", [0, 101])
async def test_every_organisation_is_looked_at(
    engine_apart: AsyncEngine, temporal: Client, count: int
) -> None:
    for _ in range(count):
        await an_organization(engine_apart, 1)
    result = await audited(engine_apart, temporal)
    assert (result.wallets, result.entries) == (count, count)


async def test_an_organization_that_cannot_be_checked_is_named_and_keeps_no_other_from_it(
    engine_apart: AsyncEngine, temporal: Client
) -> None:
    """A figure so large that a sum with it is none of PostgreSQL's any more."""
    sick, _ = await billed(engine_apart)
    flawed, _ = await billed(engine_apart)
    await billed(engine_apart)
    await by_hand(
        engine_apart,
        "UPDATE ledger_entries SET balance_after_minor = 9223372036854775807, amount_minor = 1"
        " WHERE org_id = :sick AND kind = 'topup'",
        "UPDATE ledger_entries SET debit_account = credit_account, credit_account = debit_account"
        " WHERE org_id = :sick AND kind = 'call'",
        "UPDATE wallets SET balance_minor = balance_minor + 1 WHERE org_id = :flawed",
        sick=sick,
        flawed=flawed,
    )
    found = await flaws(engine_apart, temporal)
    assert (Check.NOT_CHECKED, f"chain of {sick}") in found
    assert (Check.BALANCE, flawed) in found
    assert {subject for check, subject in found if check is Check.CHAIN} == set()
    assert len(await told(engine_apart)) == 1


async def test_a_check_of_webhooks_that_fails_is_named_and_keeps_no_other_from_being_made(
    engine_apart: AsyncEngine, temporal: Client
) -> None:
    broken = """CREATE OR REPLACE FUNCTION is_jsonb(given text) RETURNS boolean
                LANGUAGE sql AS 'SELECT 1 / 0 > 0'"""
    await billed(engine_apart)
    async with engine_apart.begin() as connection:
        await connection.execute(text(broken))
        await connection.execute(
            text("""INSERT INTO webhook_events
                (source, key, type, subject, body, status, due_at, handled_at) VALUES
                ('vapi', 'k', 'end-of-call-report', 'lost', '{}', 'handled', now(), now()),
                ('stripe', 'e', 'payment_intent.succeeded', 'pi_1', '{}', 'handled', now(),
                 now() - interval '9 days')""")
        )
    assert await flaws(engine_apart, temporal) >= {
        (Check.NOT_CHECKED, Check.PAYMENT_WITHOUT_CREDIT),
        (Check.REPORT_WITHOUT_CALL, "lost"),
    }
