"""Every check of the audit: books with money of all kinds agree, and one changed row is named."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from billing.ledger.audit import MOVES, REVERSES, Check, Flaw
from billing.ledger.entry import EntryKind
from billing.ledger.money import Currency
from billing.ledger.wallet import Wallet
from billing.payments.refunds_and_disputes import Refund, refund_entries
from store.ledger import audit, ledger, wallets
from store.organizations import organizations
from store.payments import customers, payments
from tests.conftest import NewDatabase
from tests.support.factories import NOON, an_organization, credit_of
from tests.support.money_of_all_kinds import Books, all_kinds
from tests.support.stand_ins import StripeStandIn
from wiring import Clients

_ENTRY = "UPDATE ledger_entries SET {} WHERE key = {}"
_TOPUP = r"'payment:' || :refunded || '\:credit'"
_NEW_EVENT = """
    INSERT INTO webhook_events (source, key, type, subject, body, status, due_at, handled_at)
    VALUES ({}, 'made-up', {}, {}, {}, 'handled', now(), now() - interval '2 days')"""
_A_DISPUTE = (
    "CAST(json_build_object('data', json_build_object('object',"
    " json_build_object('id', CAST(:dispute_lost AS text)))) AS text)"
)
_A_THIN_DISPUTE = (
    "CAST(json_build_object('related_object',"
    " json_build_object('id', CAST(:dispute_lost AS text), 'type', 'dispute')) AS text)"
)
_OPEN_AGAIN = (
    "UPDATE disputes SET is_open = true, updated_at = now() - interval '3 days'"
    " WHERE dispute_id = :dispute_lost"
)
_FINDING = """
    INSERT INTO reconciliation_findings
        (run_id, subject, kind, outcome, occurred_at, due, detail, found_at)
    VALUES ('a run', :lost, 'drifted', 'reported', now(), '[]',
        CAST(:dispute_lost AS text) || ' is lost at Stripe, and open here',
        now() - interval '2 days')"""
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
    *(
        (Check.WAITING_THOUGH_PAYABLE, statement, "forgotten")
        for statement in (
            "INSERT INTO calls (call_id, org_id, state, facts, amount_minor, workflow_id,"
            " updated_at) VALUES ('forgotten', :org_id, 'debt_limit', '{{}}', 100, '',"
            " now() - interval '2 hours')",
            # Of a correction it is the difference that has to fit.
            "INSERT INTO calls (call_id, org_id, state, facts, amount_minor, waiting_minor,"
            " workflow_id, updated_at) VALUES ('forgotten', :org_id, 'debt_limit', '{{}}',"
            " 1000000000, 100, '', now() - interval '2 hours')",
            "INSERT INTO messages (sid, account_sid, org_id, status, status_rank, state,"
            " amount_minor, workflow_id, updated_at) VALUES ('forgotten', 'AC1', :org_id, 'sent',"
            " 5, 'debt_limit', 100, '', now() - interval '2 hours')",
        )
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
    (
        Check.CALL_OF_OTHER_ORGANIZATION,
        "UPDATE calls SET org_id = :another WHERE call_id = :corrected",
        "{corrected}",
    ),
    (
        Check.CALL_OF_OTHER_ORGANIZATION,
        "UPDATE calls SET org_id = NULL WHERE call_id = :reported",
        "{reported}",
    ),
    (
        Check.MESSAGE_OF_OTHER_ORGANIZATION,
        "UPDATE messages SET org_id = :another WHERE sid = :lost_message",
        "{lost_message}",
    ),
    (
        Check.CALL_CHARGED_AND_DISCARDED,
        "UPDATE calls SET state = 'discarded' WHERE call_id = :call",
        "{call}",
    ),
    (
        Check.MESSAGE_CHARGED_AND_DISCARDED,
        "UPDATE messages SET state = 'discarded' WHERE sid = :sent",
        "{sent}",
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
        Check.RECHARGE_OF_OTHER_ORGANIZATION,
        "UPDATE recharge_attempts SET org_id = :another WHERE attempt_id = :attempt",
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
        Check.DISPUTE_OPEN_THOUGH_CLOSED,
        "WITH told AS ("
        + _NEW_EVENT.format("'stripe'", "'charge.dispute.closed'", ":lost", _A_DISPUTE)
        + " RETURNING key) "
        + _OPEN_AGAIN,
        "{dispute_lost}",
    ),
    (
        Check.DISPUTE_OPEN_THOUGH_CLOSED,
        "WITH told AS ("
        + _NEW_EVENT.format("'stripe'", "'v1.charge.dispute.closed'", ":lost", _A_THIN_DISPUTE)
        + " RETURNING key) "
        + _OPEN_AGAIN,
        "{dispute_lost}",
    ),
    (
        Check.DISPUTE_OPEN_THOUGH_CLOSED,
        f"WITH found AS ({_FINDING} RETURNING run_id) {_OPEN_AGAIN}",
        "{dispute_lost}",
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
    migrated_database: NewDatabase, stripe: StripeStandIn, clients: Clients
) -> AsyncIterator[Books]:
    engine = await migrated_database()
    another = await an_organization(engine)
    async with engine.begin() as connection:
        await ledger.post(connection, [credit_of(another, 700, "others")])
    made = await all_kinds(engine, stripe, clients.stripe)
    yield replace(made, names={**made.names, "another": another})
    await engine.dispose()


async def flaws(connection: AsyncConnection) -> list[Flaw]:
    found = await connection.execute(text("SELECT org_id FROM organizations"))
    org_ids = [row.org_id for row in found]
    of_organizations = await audit.of_organizations(connection, org_ids)
    return of_organizations + await audit.of_webhooks(connection, untyped_are_ours=True)


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
    """Whether a process runs is not in the database: see test_audit_processes.

    What cannot be checked is no check: see test_audit.
    """
    elsewhere = {Check.WAITING_WITHOUT_PROCESS, Check.NOT_CHECKED}
    assert {check for check, _, _ in CHANGES} | elsewhere == set(Check)


def test_the_audit_knows_how_each_kind_moves_money() -> None:
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


async def test_a_dispute_that_is_open_again_after_it_was_closed_is_no_flaw(books: Books) -> None:
    """An appeal: somebody has looked since, and Stripe said that it is open."""
    for since in ("now()", "now() - interval '2 days'"):
        told = _NEW_EVENT.format("'stripe'", "'charge.dispute.closed'", ":lost", _A_DISPUTE)
        opened = _OPEN_AGAIN.replace("now() - interval '3 days'", since)
        assert await after(books, f"WITH told AS ({told} RETURNING key) {opened}") == []


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


@pytest.mark.parametrize(
    ("metadata", "untyped_are_ours", "is_named"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"type": "wallet_topup"}, False, True),
        ({"type": "subscription"}, True, False),
    ],
)
async def test_a_payment_without_a_type_is_missed_only_where_it_would_be_credited(
    books: Books, metadata: dict[str, str], *, untyped_are_ours: bool, is_named: bool
) -> None:
    paid = {"currency": "gbp", "amount": 2500, "metadata": {"org_id": books.org_id, **metadata}}
    event = ("'stripe'", "'payment_intent.succeeded'", "'pi_unseen'", "CAST(:body AS text)")
    async with books.engine.connect() as connection:
        body = json.dumps({"data": {"object": paid}})
        await connection.execute(text(_NEW_EVENT.format(*event)), {"body": body})
        found = await audit.of_webhooks(connection, untyped_are_ours=untyped_are_ours)
        await connection.rollback()
    assert ("pi_unseen" in {one.subject for one in found}) is is_named


async def test_a_refund_of_a_credited_payment_is_missed_though_the_payment_was_given_up(
    books: Books,
) -> None:
    """And though its metadata names another by now: what was credited decides, not what it says."""
    told = {"id": "re_unheard", "status": "pending", "currency": "gbp", "amount": 100}
    body = json.dumps({"data": {"object": {**told, "metadata": {"org_id": "another"}}}})
    event = ("'stripe'", "'refund.created'", ":lost", "CAST(:body AS text)")
    async with books.engine.connect() as connection:
        await payments.discard(connection, books.names["lost"], "Ann: agreed")
        await connection.execute(text(_NEW_EVENT.format(*event)), {**books.names, "body": body})
        named = [(one.check, one.subject, one.org_id) for one in await flaws(connection)]
        await connection.rollback()
    assert named == [(Check.RETURN_WITHOUT_ENTRY, "refund:re_unheard", books.org_id)]


async def test_what_went_back_from_another_than_was_credited_is_named(books: Books) -> None:
    async with books.engine.connect() as connection:
        other = Wallet("another", Currency.GBP, 0)
        await organizations.create(connection, other.org_id, "Another", Currency.GBP, 500)
        [taken] = refund_entries(Refund("re_1", 100, NOON, "succeeded"), other)
        cause = f"stripe refund re_1 of payment {books.names['captured']}"
        await ledger.post(connection, [replace(taken, cause=cause)])
        named = [(one.check, one.subject, one.org_id) for one in await flaws(connection)]
        await connection.rollback()
    assert named == [(Check.RETURN_WITHOUT_CREDIT, "refund:re_1", "another")]


async def test_a_dispute_in_another_currency_is_left_to_whoever_it_waits_for(books: Books) -> None:
    event = ("'stripe'", "'charge.dispute.funds_withdrawn'", ":lost", "CAST(:body AS text)")
    in_dollars = {**books.names, "body": DISPUTE.replace("gbp", "usd")}
    async with books.engine.connect() as connection:
        await connection.execute(text(_NEW_EVENT.format(*event)), in_dollars)
        assert await flaws(connection) == []
        await connection.rollback()


@pytest.mark.parametrize(
    ("changed", "is_named"),
    [
        ("", True),
        # It is being collected.
        ("UPDATE calls SET updated_at = now() - interval '50 minutes'", False),
        ("UPDATE calls SET amount_minor = 601", False),
        # There has been enough money, or a limit that is high enough, for less than an hour.
        ("UPDATE ledger_entries SET recorded_at = now() - interval '50 minutes'", False),
        ("UPDATE wallets SET updated_at = now() - interval '50 minutes'", False),
    ],
)
async def test_what_waits_though_it_could_be_paid_is_named_after_an_hour(
    engine_apart: AsyncEngine, changed: str, *, is_named: bool
) -> None:
    """A wallet has had 6.00 and a call has waited for as much, both for two hours."""
    org_id = await an_organization(engine_apart, 100)
    async with engine_apart.begin() as connection:
        await connection.execute(text("ALTER TABLE ledger_entries DISABLE TRIGGER ALL"))
        for statement in (
            "UPDATE ledger_entries SET recorded_at = now() - interval '2 hours'",
            "UPDATE wallets SET updated_at = now() - interval '2 hours'",
            "INSERT INTO calls (call_id, org_id, state, facts, amount_minor, workflow_id,"
            " updated_at) VALUES ('forgotten', :org_id, 'debt_limit', '{}', 600, '',"
            " now() - interval '2 hours')",
            *filter(None, [changed]),
        ):
            await connection.execute(text(statement), {"org_id": org_id})
        found = await audit.of_organizations(connection, [org_id])
    assert [(one.check, one.subject) for one in found] == (
        [(Check.WAITING_THOUGH_PAYABLE, "forgotten")] if is_named else []
    )


async def test_a_limit_that_was_raised_just_now_is_no_reason_for_an_alarm(
    engine_apart: AsyncEngine,
) -> None:
    org_id = await an_organization(engine_apart, debt_limit_minor=0)
    async with engine_apart.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO calls (call_id, org_id, state, facts, amount_minor, workflow_id,"
                " updated_at) VALUES ('forgotten', :org_id, 'debt_limit', '{}', 600, '',"
                " now() - interval '2 hours')"
            ),
            {"org_id": org_id},
        )
        await connection.execute(text("UPDATE wallets SET updated_at = now() - interval '1 day'"))
        await wallets.set_debt_limit(connection, org_id, 600)
        assert await audit.of_organizations(connection, [org_id]) == []
