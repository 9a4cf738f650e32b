"""Every check of the audit: books with money of all kinds agree, and one changed row is named."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.audit import MOVES, REVERSES, Check, Flaw
from billing.ledger import EntryKind
from store import audit, customers, ledger
from store.migrate import upgrade
from tests.activities.money_of_all_kinds import Books, all_kinds
from tests.conftest import NewDatabase
from tests.factories import an_organization, credit_of
from tests.stand_ins import StripeStandIn
from wiring import Clients

_ENTRY = "UPDATE ledger_entries SET {} WHERE key = {}"
_TOPUP = r"'payment:' || :refunded || '\:credit'"
_NEW_EVENT = """
    INSERT INTO webhook_events (source, key, type, subject, body, status, due_at, handled_at)
    VALUES ({}, 'made-up', {}, {}, {}, 'handled', now(), now() - interval '2 days')"""
# What somebody does to one row, and the row that the audit then names.
CHANGES: list[tuple[Check, str, str]] = [
    (
        Check.BALANCE,
        "UPDATE wallets SET balance_minor = balance_minor + 1 WHERE org_id = :org_id",
        "{org_id}",
    ),
    (
        Check.CHAIN,
        _ENTRY.format("balance_after_minor = 7", "'adjustment:' || :taken"),
        "adjustment:{taken}",
    ),
    (Check.CURRENCY, _ENTRY.format("currency = 'usd'", "'call:' || :call"), "call:{call}"),
    (
        Check.ACCOUNTS,
        _ENTRY.format("debit_account = 'goodwill'", _TOPUP),
        "payment:{refunded}:credit",
    ),
    (
        Check.ACCOUNTS,
        _ENTRY.format("credit_account = 'wallet:another'", _TOPUP),
        "payment:{refunded}:credit",
    ),
    (
        Check.ACCOUNTS,
        _ENTRY.format("kind = 'gift'", _TOPUP.replace("refunded", "by_checkout")),
        "payment:{by_checkout}:credit",
    ),
    *(
        (
            Check.REVERSAL,
            _ENTRY.format(f"reverses = {other}", r"'refund:' || :failed || '\:reversal'"),
            "refund:{failed}:reversal",
        )
        for other in (
            "NULL",
            "'refund:nobody'",
            "'refund:' || :part",
            "'sms:' || :sent",
            "'others'",
        )
    ),
    (
        Check.ORGANIZATION_WITHOUT_WALLET,
        "INSERT INTO organizations VALUES ('penniless', 'Penniless')",
        "penniless",
    ),
    (
        Check.CALL_WITHOUT_ENTRY,
        "INSERT INTO calls (call_id, org_id, state, facts, amount_minor, workflow_id)"
        " VALUES ('free', :org_id, 'settled', '{{}}', 1, '')",
        "free",
    ),
    (
        Check.CALL_OF_OTHER_AMOUNT,
        "UPDATE calls SET amount_minor = 1 WHERE call_id = :corrected",
        "{corrected}",
    ),
    (Check.ENTRY_WITHOUT_CALL, "DELETE FROM calls WHERE call_id = :call", "call:{call}"),
    (
        Check.REPORT_WITHOUT_CALL,
        _NEW_EVENT.format("'vapi'", "'end-of-call-report'", "'unheard'", "'{{}}'"),
        "unheard",
    ),
    (
        Check.MESSAGE_WITHOUT_ENTRY,
        "INSERT INTO messages (sid, account_sid, org_id, status, status_rank, state, amount_minor,"
        " workflow_id) VALUES ('SM1', 'AC1', :org_id, 'sent', 5, 'charged', 4, '')",
        "SM1",
    ),
    (
        Check.MESSAGE_OF_OTHER_AMOUNT,
        "UPDATE messages SET amount_minor = 1 WHERE sid = :lost_message",
        "{lost_message}",
    ),
    (Check.ENTRY_WITHOUT_MESSAGE, "DELETE FROM messages WHERE sid = :sent", "sms:{sent}"),
    (
        Check.ADJUSTMENT_WITHOUT_ENTRY,
        "UPDATE adjustments SET state = 'applied', decision = '{{}}'"
        " WHERE adjustment_id = :rejected",
        "{rejected}",
    ),
    *(
        (
            Check.ADJUSTMENT_OF_OTHER_AMOUNT,
            f"UPDATE adjustments SET {change} WHERE adjustment_id = :given",  # noqa: S608
            "{given}",
        )
        for change in ("amount_minor = 1", "direction = 'debit'", "account = 'goodwill'")
    ),
    (
        Check.ENTRY_WITHOUT_ADJUSTMENT,
        "UPDATE adjustments SET state = 'rejected' WHERE adjustment_id = :given",
        "adjustment:{given}",
    ),
    (Check.PAYMENT_WITHOUT_CREDIT, "DELETE FROM discarded_payments", "{given_up}"),
    (
        Check.RECHARGE_WITHOUT_CREDIT,
        "UPDATE recharge_attempts SET state = 'succeeded', payment_id = 'pi_nobody'"
        " WHERE attempt_id = :declined",
        "{declined}",
    ),
    (
        Check.RECHARGE_WITHOUT_CREDIT,
        "UPDATE recharge_attempts SET payment_id = NULL WHERE attempt_id = :attempt",
        "{attempt}",
    ),
    (
        Check.RECHARGE_OF_OTHER_AMOUNT,
        "UPDATE recharge_attempts SET amount_minor = 4000 WHERE attempt_id = :attempt",
        "{attempt}",
    ),
    (
        Check.RETURN_WITHOUT_CREDIT,
        _ENTRY.format("cause = 'stripe refund of payment pi_nobody'", "'refund:' || :part"),
        "refund:{part}",
    ),
    (
        Check.RETURN_WITHOUT_CREDIT,
        _ENTRY.format("cause = 'somebody said so'", "'dispute:' || :dispute_lost"),
        "dispute:{dispute_lost}",
    ),
    (
        Check.RETURN_WITHOUT_ENTRY,
        _ENTRY.format("key = 'refund:another'", "'refund:' || :part"),
        "refund:{part}",
    ),
    (
        Check.RETURN_WITHOUT_ENTRY,
        _NEW_EVENT.format(
            "'stripe'", "'charge.dispute.funds_withdrawn'", ":lost", "CAST(:body AS text)"
        ),
        "dispute:du_unheard",
    ),
    (
        Check.REFUNDED_TOO_MUCH,
        _ENTRY.format("cause = 'stripe refund of payment ' || :refunded", "'refund:' || :part"),
        "payment:{refunded}:credit",
    ),
    (
        Check.DISPUTE_WITHOUT_CREDIT,
        "UPDATE disputes SET payment_id = 'pi_nobody' WHERE dispute_id = :dispute_lost",
        "{dispute_lost}",
    ),
    (
        Check.DISPUTE_WITHOUT_ENTRY,
        "INSERT INTO disputes VALUES ('du_1', :org_id, :lost, true, now() - interval '2 days')",
        "du_1",
    ),
    (
        Check.ENTRY_WITHOUT_DISPUTE,
        "DELETE FROM disputes WHERE dispute_id = :dispute_lost",
        "dispute:{dispute_lost}",
    ),
]
DISPUTE = '{"data": {"object": {"id": "du_unheard", "currency": "gbp", "amount": 2500}}}'


@pytest.fixture(scope="module")
async def books(
    new_database: NewDatabase, stripe: StripeStandIn, clients: Clients
) -> AsyncIterator[Books]:
    engine = await new_database()
    await upgrade(engine)
    another = await an_organization(engine)
    async with engine.begin() as connection:
        await ledger.post(connection, [credit_of(another, 700, "others")])
    yield await all_kinds(engine, stripe, clients.stripe)
    await engine.dispose()


async def flaws(connection: AsyncConnection) -> list[Flaw]:
    found = await connection.execute(text("SELECT org_id FROM organizations"))
    org_ids = [row.org_id for row in found]
    of_organizations = await audit.of_organizations(connection, org_ids)
    return of_organizations + await audit.of_webhooks(connection)


async def after(books: Books, statement: str) -> list[Flaw]:
    """What is found after a change by somebody who may switch triggers off; it is undone."""
    async with books.engine.connect() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        changed = await connection.execute(
            text(statement.replace("{{}}", "{}")), {"body": DISPUTE, **books.names}
        )
        assert changed.rowcount == 1
        found = await flaws(connection)
        await connection.rollback()
    return found


async def test_money_of_all_kinds_leaves_books_that_agree(books: Books) -> None:
    async with books.engine.connect() as connection:
        assert await flaws(connection) == []
        entries = await ledger.page(connection, books.org_id, None, 1000)
    assert {one.kind for one in entries} == set(EntryKind)


@pytest.mark.parametrize(
    ("check", "statement", "subject"), CHANGES, ids=[check for check, _, _ in CHANGES]
)
async def test_a_row_that_somebody_changed_is_named_and_only_that(
    books: Books, check: Check, statement: str, subject: str
) -> None:
    found = await after(books, statement)
    assert [(one.check, one.subject) for one in found] == [(check, subject.format_map(books.names))]
    assert found[0].detail


def test_no_check_is_forgotten() -> None:
    assert {check for check, _, _ in CHANGES} == set(Check)
    assert set(MOVES) == set(EntryKind)
    assert set(REVERSES) == {one for one in EntryKind if "reversal" in one} | {EntryKind.CORRECTION}


async def test_what_is_on_its_way_has_its_time(books: Books) -> None:
    for statement in (
        "UPDATE recharge_attempts SET state = 'succeeded', payment_id = 'pi_nobody',"
        " written_at = now() - interval '47 hours' WHERE attempt_id = :declined",
        "INSERT INTO disputes VALUES ('du_1', :org_id, :lost, true, now() - interval '23 hours')",
        _NEW_EVENT.replace("2 days", "23 hours").format(
            "'stripe'", "'charge.dispute.funds_withdrawn'", ":lost", "CAST(:body AS text)"
        ),
    ):
        assert await after(books, statement) == []


@pytest.mark.parametrize("body", ["", "no JSON", "[]", "{}", '{"data": {"object": "\\u0000"}}'])
@pytest.mark.parametrize("event", ["payment_intent.succeeded", "refund.created"])
async def test_an_event_that_cannot_be_read_does_not_end_the_audit(
    books: Books, event: str, body: str
) -> None:
    subject = ":lost" if event == "refund.created" else "'pi_unread'"
    statement = _NEW_EVENT.format("'stripe'", f"'{event}'", subject, "CAST(:body AS text)")
    async with books.engine.connect() as connection:
        await connection.execute(text(statement), {**books.names, "body": body})
        assert await flaws(connection) == []
        await connection.rollback()


@pytest.mark.parametrize(
    ("told", "is_named"),
    [
        ({}, True),
        ({"customer": None}, True),
        ({"payment_status": "unpaid"}, False),
        ({"customer": "cus_another"}, False),
        ({"currency": "usd"}, False),
        ({"metadata": {"type": "wallet_topup", "amount_minor": "2400"}}, False),
        ({"metadata": {"type": "subscription"}}, False),
        ({"client_reference_id": "nobody"}, False),
    ],
)
async def test_a_payment_is_missed_only_if_it_was_to_be_credited(
    books: Books, told: dict[str, Any], *, is_named: bool
) -> None:
    session = {
        "payment_status": "paid",
        "currency": "gbp",
        "amount_total": 2500,
        "client_reference_id": books.org_id,
        "customer": "cus_theirs",
        **told,
    }
    body = json.dumps({"data": {"object": session}})
    event = ("'stripe'", "'checkout.session.completed'", "'pi_unseen'", "CAST(:body AS text)")
    async with books.engine.connect() as connection:
        await customers.remember(connection, books.org_id, "cus_theirs")
        await connection.execute(text(_NEW_EVENT.format(*event)), {"body": body})
        named = [(one.check, one.subject) for one in await flaws(connection)]
        await connection.rollback()
    assert named == ([(Check.PAYMENT_WITHOUT_CREDIT, "pi_unseen")] if is_named else [])


async def test_a_dispute_in_another_currency_is_left_to_whoever_it_waits_for(books: Books) -> None:
    event = ("'stripe'", "'charge.dispute.funds_withdrawn'", ":lost", "CAST(:body AS text)")
    in_dollars = {**books.names, "body": DISPUTE.replace("gbp", "usd")}
    async with books.engine.connect() as connection:
        await connection.execute(text(_NEW_EVENT.format(*event)), in_dollars)
        assert await flaws(connection) == []
        await connection.rollback()
