"""Make organisations, calls and transfers for one test, under ids that nothing else has."""

import uuid
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.alerts.alert import Alert, AlertLevel
from billing.calls.call import EndedCall
from billing.calls.fact_source import FactSource
from billing.ledger.entry import (
    Account,
    Entry,
    EntryKind,
    Posting,
    Transfer,
    call_key,
    wallet_account,
)
from billing.ledger.money import Currency, Money
from billing.ledger.wallet import Wallet
from billing.organizations import AgentKind
from billing.tariffs.tariff import Tariff
from store.database import clock
from store.ledger import ledger, wallets
from store.organizations import agents, organizations
from store.schema import tariffs

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)


def unique(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex[:16]}"


def a_sid() -> str:
    """Return a new id of a message."""
    return f"SM{uuid.uuid4().hex}"


def ended_call(
    assistant_id: str | None = None,
    seconds: float = 60,
    *,
    call_id: str | None = None,
    ended_at: datetime = NOON,
    phone_number_id: str | None = None,
    reported_seconds: Decimal | None = None,
) -> EndedCall:
    return EndedCall(
        call_id=call_id or unique("call"),
        assistant_id=assistant_id,
        phone_number_id=phone_number_id,
        started_at=ended_at - timedelta(seconds=seconds),
        ended_at=ended_at,
        reported_seconds=reported_seconds,
        ended_reason="customer-ended-call",
    )


def as_api(call: EndedCall) -> EndedCall:
    """Return these facts as Vapi's API says them of a call that has ended."""
    sources = {"ended_at": FactSource.API} if call.ended_at else None
    return replace(call, provider_ended=True, sources=sources)


def an_alert(title: str = "Something is up", level: AlertLevel = AlertLevel.HIGH) -> Alert:
    return Alert(unique("alert"), level, title, "It happened. Do something about it.")


def charge_of(
    org_id: str, amount_minor: int, key: str | None = None, currency: Currency = Currency.GBP
) -> Transfer:
    """Return a charge that the debt limit may refuse."""
    return Transfer(
        key=key or call_key(unique("call")),
        kind=EntryKind.CALL,
        org_id=org_id,
        debit_account=wallet_account(org_id),
        credit_account=Account.USAGE_CALLS,
        amount=Money(amount_minor, currency),
        occurred_at=NOON,
        cause="a test",
        actor="system",
        refusable=True,
    )


def credit_of(
    org_id: str, amount_minor: int, key: str | None = None, currency: Currency = Currency.GBP
) -> Transfer:
    return Transfer(
        key=key or unique("credit"),
        kind=EntryKind.TOPUP,
        org_id=org_id,
        debit_account=Account.STRIPE,
        credit_account=wallet_account(org_id),
        amount=Money(amount_minor, currency),
        occurred_at=NOON,
        cause="a test",
        actor="system",
    )


async def an_organization(
    engine: AsyncEngine,
    balance_minor: int = 0,
    *,
    currency: Currency = Currency.GBP,
    debt_limit_minor: int = 500,
    org_id: str | None = None,
) -> str:
    org_id = org_id or unique("org")
    async with engine.begin() as connection:
        await organizations.create(
            connection, org_id, f"Tenant {org_id}", currency, debt_limit_minor
        )
    if balance_minor:
        await credit(engine, org_id, balance_minor, currency)
    return org_id


async def an_assistant(engine: AsyncEngine, org_id: str) -> str:
    return await register(engine, unique("assistant"), org_id)


async def a_poisonous_assistant(
    engine: AsyncEngine, error: str = "numeric_value_out_of_range"
) -> str:
    """Register an assistant whose calls PostgreSQL refuses with this error, whatever is done."""
    async with engine.begin() as connection:
        for statement in _POISON:
            await connection.execute(text(statement))
    return await register(engine, unique(f"poison_{error}"), await an_organization(engine))


_POISON = (
    """CREATE OR REPLACE FUNCTION refuse_poison() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.facts ->> 'assistant_id' LIKE 'poison_raise%' THEN
            RAISE EXCEPTION 'poison';
        END IF;
        RAISE EXCEPTION 'poison' USING ERRCODE = 'numeric_value_out_of_range';
    END $$""",
    """CREATE OR REPLACE TRIGGER refuse_poison BEFORE INSERT OR UPDATE ON calls FOR EACH ROW
    WHEN (NEW.facts ->> 'assistant_id' LIKE 'poison%') EXECUTE FUNCTION refuse_poison()""",
)


async def a_ruinous_assistant(engine: AsyncEngine) -> str:
    """Register an assistant whose calls cost more than anything can, by a tariff put in by hand."""
    org_id = await an_organization(engine)
    ruinous = Tariff(
        tariff_id=unique("tariff"),
        currency=Currency.GBP,
        rate_minor_per_minute=Decimal(10**19),
        increment_seconds=1,
        minimum_minor=0,
        fx_rate=Decimal(1),
        wallet_currency=Currency.GBP,
        effective_from=NOON - timedelta(days=1000),
        org_id=org_id,
    )
    async with engine.begin() as connection:
        await connection.execute(insert(tariffs).values(asdict(ruinous)))
    return await an_assistant(engine, org_id)


async def a_sender(engine: AsyncEngine, org_id: str) -> str:
    """Register a number that sends for an organisation; return it."""
    number = f"+1{uuid.uuid4().int % 10**10:010}"
    return await register(engine, number, org_id, AgentKind.SMS_NUMBER)


async def register(
    engine: AsyncEngine, agent_id: str, org_id: str, kind: AgentKind = AgentKind.ASSISTANT
) -> str:
    async with engine.begin() as connection:
        await agents.register(connection, agent_id, kind, org_id)
    return agent_id


async def unregister(
    engine: AsyncEngine, agent_id: str, org_id: str, kind: AgentKind = AgentKind.ASSISTANT
) -> None:
    async with engine.begin() as connection:
        await agents.remove(connection, agent_id, org_id, [kind])


async def move(
    engine: AsyncEngine,
    agent_id: str,
    owner: str,
    heir: str,
    kind: AgentKind = AgentKind.ASSISTANT,
) -> datetime:
    """Register what is one organisation's to another; return a moment at which it is the heir's."""
    await unregister(engine, agent_id, owner, kind)
    await register(engine, agent_id, heir, kind)
    return await now(engine)


async def now(engine: AsyncEngine) -> datetime:
    """Read the clock by which registrations begin and end."""
    async with engine.connect() as connection:
        return await clock.now(connection)


async def credit(
    engine: AsyncEngine, org_id: str, amount_minor: int, currency: Currency = Currency.GBP
) -> Posting:
    async with engine.begin() as connection:
        [posting] = await ledger.post(
            connection, [credit_of(org_id, amount_minor, currency=currency)]
        )
    return posting


async def with_money(engine: AsyncEngine, org_id: str) -> Wallet:
    """Read a wallet, and say that it had money enough for whatever waits."""
    return replace(await wallet_of(engine, org_id), balance_minor=10**9)


async def wallet_of(engine: AsyncEngine, org_id: str) -> Wallet:
    async with engine.connect() as connection:
        return await wallets.wallet_of(connection, org_id)


async def balance_of(engine: AsyncEngine, org_id: str) -> int:
    return (await wallet_of(engine, org_id)).balance_minor


async def entries_of(engine: AsyncEngine, org_id: str) -> list[Entry]:
    """Read an organisation's entries, oldest first, without those of `credit`."""
    async with engine.connect() as connection:
        entries = await ledger.page(connection, org_id, None, 1000)
    return [entry for entry in reversed(entries) if not entry.key.startswith("credit_")]


async def keys_of(engine: AsyncEngine, org_id: str) -> list[str]:
    """Read the keys of an organisation's entries, oldest first, without those of `credit`."""
    return [entry.key for entry in await entries_of(engine, org_id)]
