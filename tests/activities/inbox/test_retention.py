"""The audit sees the same before and after old bodies are removed."""

import json

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import ActivityEnvironment

from activities.inbox.retention import RetentionActivities
from billing.explanations import Explanation
from billing.inbox.retention import Sweep
from billing.ledger.audit import Check
from billing.platform_rules import PlatformRules
from store import explanations
from store.alerts import alerts
from store.ledger import audit
from tests.conftest import NewDatabase
from tests.support.factories import ended_call
from tests.support.inbox_events import accept, report_of
from tests.support.money_of_all_kinds import Books, all_kinds
from tests.support.stand_ins import StripeStandIn
from wiring import Clients

_LOST = """
    INSERT INTO webhook_events (source, key, type, subject, body, status, due_at, handled_at)
    VALUES ('stripe', :type, :type, :subject, :body, 'handled', now(), now() - interval '9 days')"""
_KEPT = "calls", "ledger_entries", "messages", "disputes", "recharge_attempts", "wallets"


@pytest.fixture
async def books(migrated_database: NewDatabase, stripe: StripeStandIn, clients: Clients) -> Books:
    """Everything that moves money, and two months later."""
    engine = await migrated_database()
    books = await all_kinds(engine, stripe, clients.stripe)
    await lost(books)
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE webhook_events SET received_at = now() - interval '60 days'")
        )
    return books


async def lost(books: Books) -> None:
    """A payment and a dispute that were heard of, and that somebody then lost."""
    paid = {
        "id": "pi_unseen", "currency": "gbp", "amount": 2500, "amount_received": 2500,
        "metadata": {"org_id": books.org_id, "type": "wallet_topup", "amount_minor": "2500"},
    }  # fmt: skip
    taken = {"id": "du_unheard", "currency": "gbp", "amount": 2500, "status": "needs_response"}
    told = (
        ("payment_intent.succeeded", "pi_unseen", paid),
        ("charge.dispute.funds_withdrawn", books.names["lost"], taken),
    )
    async with books.engine.begin() as connection:
        for event_type, subject, inner in told:
            body = json.dumps({"data": {"object": {**inner, "receipt_email": "jo@example.com"}}})
            given = {"type": event_type, "subject": subject, "body": body}
            await connection.execute(text(_LOST), given)


async def swept(engine: AsyncEngine) -> Sweep:
    activities = RetentionActivities(engine, PlatformRules(keep_bodies_days=30))
    return await ActivityEnvironment().run(activities.empty_bodies, Sweep())


async def flaws(books: Books) -> list[tuple[Check, str, str]]:
    async with books.engine.connect() as connection:
        found = await audit.of_organizations(connection, [books.org_id])
        found += await audit.of_webhooks(connection, untyped_are_ours=True)
    return [(one.check, one.subject, one.detail) for one in found]


async def everything(engine: AsyncEngine) -> dict[str, list[str]]:
    async with engine.connect() as connection:
        return {
            table: [
                row.whole
                for row in await connection.execute(
                    text(f"SELECT CAST({table} AS text) AS whole FROM {table} ORDER BY 1")  # noqa: S608
                )
            ]
            for table in _KEPT
        }


async def explained(books: Books) -> dict[str, Explanation]:
    async with books.engine.connect() as connection:
        keys = await connection.execute(text("SELECT key FROM ledger_entries"))
        return {row.key: await explanations.explain(connection, row.key) for row in keys}


async def test_the_audit_finds_the_same_after_two_months_as_on_the_day(books: Books) -> None:
    before = await flaws(books)
    assert [(check, subject) for check, subject, _ in before] == [
        (Check.PAYMENT_WITHOUT_CREDIT, "pi_unseen"),
        (Check.RETURN_WITHOUT_ENTRY, "dispute:du_unheard"),
    ]
    assert (await swept(books.engine)).emptied > 20
    assert await flaws(books) == before


async def test_nothing_but_bodies_goes_and_every_penny_is_explained_as_before(
    books: Books,
) -> None:
    before = await everything(books.engine), await explained(books)
    sweep = await swept(books.engine)
    assert (sweep.left, sweep.more) == (0, False)
    assert (await everything(books.engine), await explained(books)) == before
    async with books.engine.connect() as connection:
        longest = await connection.scalar(text("SELECT max(length(body)) FROM webhook_events"))
        told = await connection.scalar(text("SELECT string_agg(body, '') FROM webhook_events"))
    assert longest is not None
    assert longest < 500
    assert "jo@example.com" not in str(told)


async def test_a_second_sweep_finds_nothing_to_remove(books: Books) -> None:
    first = await swept(books.engine)
    again = await swept(books.engine)
    assert (again.looked_at, again.emptied, again.clean) == (first.looked_at, 0, first.clean)


async def test_a_body_that_cannot_be_removed_is_left_named_and_told_and_the_rest_goes(
    engine_apart: AsyncEngine,
) -> None:
    reports = [report_of(ended_call("assistant")) for _ in range(9)]
    await accept(engine_apart, *reports)
    async with engine_apart.begin() as connection:
        for statement in _REFUSE_ONE:
            await connection.execute(text(statement), {"key": reports[4].key})
        number = await connection.scalar(
            text("SELECT event_id FROM webhook_events WHERE type = 'sick'")
        )
    for _ in range(2):
        sweep = await swept(engine_apart)
        assert (sweep.left, sweep.failed, sweep.clean) == (1, (number,), number - 1)
    async with engine_apart.connect() as connection:
        left = await connection.scalar(text("SELECT count(*) FROM webhook_events WHERE body <> ''"))
        [told] = await alerts.pending(connection, 10)
    assert (left, told.facts) == (1, (("Events", str(number)),))


_REFUSE_ONE = (
    """UPDATE webhook_events SET status = 'handled', received_at = now() - interval '60 days',
       type = CASE WHEN key = :key THEN 'sick' ELSE type END""",
    """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
       BEGIN RAISE EXCEPTION 'a page that cannot be written' USING ERRCODE = 'XX001'; END $$""",
    """CREATE TRIGGER refuse BEFORE UPDATE ON webhook_events FOR EACH ROW
       WHEN (OLD.type = 'sick') EXECUTE FUNCTION refuse()""",
)
