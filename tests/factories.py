"""Organisations, calls and transfers of a test's own, under ids that nothing else has."""

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncEngine

from billing.alert import Alert, AlertLevel
from billing.call import EndedCall
from billing.ledger import Account, Entry, EntryKind, Posting, Transfer, call_key, wallet_account
from billing.money import Currency, Money
from billing.organization import AgentKind
from billing.wallet import Wallet
from store import agents, ledger, wallets

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)


def unique(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex[:16]}"


def a_sid() -> str:
    """The id of a message of a test's own."""
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


def an_alert(title: str = "Something is up", level: AlertLevel = AlertLevel.HIGH) -> Alert:
    return Alert(unique("alert"), level, title, "It happened. Do something about it.")


def charge_of(
    org_id: str, amount_minor: int, key: str | None = None, currency: Currency = Currency.GBP
) -> Transfer:
    """A charge that the debt limit may refuse."""
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
        await wallets.create(connection, org_id, f"Tenant {org_id}", currency, debt_limit_minor)
    if balance_minor:
        await credit(engine, org_id, balance_minor, currency)
    return org_id


async def an_assistant(engine: AsyncEngine, org_id: str) -> str:
    return await register(engine, unique("assistant"), org_id)


async def a_sender(engine: AsyncEngine, org_id: str) -> str:
    """A number that sends for an organisation."""
    number = f"+1{uuid.uuid4().int % 10**10:010}"
    return await register(engine, number, org_id, AgentKind.SMS_NUMBER)


async def register(
    engine: AsyncEngine, agent_id: str, org_id: str, kind: AgentKind = AgentKind.ASSISTANT
) -> str:
    async with engine.begin() as connection:
        await agents.register(connection, agent_id, kind, org_id)
    return agent_id


async def credit(
    engine: AsyncEngine, org_id: str, amount_minor: int, currency: Currency = Currency.GBP
) -> Posting:
    async with engine.begin() as connection:
        [posting] = await ledger.post(
            connection, [credit_of(org_id, amount_minor, currency=currency)]
        )
    return posting


async def wallet_of(engine: AsyncEngine, org_id: str) -> Wallet:
    async with engine.connect() as connection:
        return await wallets.wallet_of(connection, org_id)


async def balance_of(engine: AsyncEngine, org_id: str) -> int:
    return (await wallet_of(engine, org_id)).balance_minor


async def entries_of(engine: AsyncEngine, org_id: str) -> list[Entry]:
    """An organisation's entries, oldest first, without those of `credit`."""
    async with engine.connect() as connection:
        entries = await ledger.page(connection, org_id, None, 1000)
    return [entry for entry in reversed(entries) if not entry.key.startswith("credit_")]


async def keys_of(engine: AsyncEngine, org_id: str) -> list[str]:
    """The keys of an organisation's entries, oldest first, without those of `credit`."""
    return [entry.key for entry in await entries_of(engine, org_id)]
