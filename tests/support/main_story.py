"""What must work on whatever database: a call, a call beyond the limit, and the money for it."""

import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import ActivityEnvironment

from activities.ledger.audit import AuditActivities
from activities.parking.visibility import Visibility
from billing.ledger.audit import Flaw
from billing.ledger.entry import call_key, payment_credit_key
from billing.ledger.money import Currency
from billing.platform_rules import PlatformRules
from billing.tariffs.tariff import Tariff
from store.schema import tariffs
from tests.support.answers import accepted, balance, parked, settled
from tests.support.api_server import Api
from tests.support.assistant_requests import a_number, ask
from tests.support.factories import NOON, an_organization, keys_of, unique
from tests.support.signed_webhooks import call_id_of, report, stripe_event
from tests.support.stand_ins import StripeStandIn

# Two calls of which the wallet can pay one.
PRICE_MINOR = 60
BALANCE_MINOR = 100
PAID_MINOR = 2500


async def is_passed(api: Api, stripe: StripeStandIn) -> None:
    org_id = await an_organization(api.engine, BALANCE_MINOR, debt_limit_minor=0)
    await price(api.engine, org_id)
    number, assistant = await a_number(api, org_id)
    assert (await ask(api, number))["assistantId"] == assistant

    first, second = report(assistant, 60), report(assistant, 60)
    assert [accepted(await api.send(first)) for _ in range(2)] == ["accepted", "duplicate"]
    await settled(api, call_id_of(first))
    assert accepted(await api.send(second)) == "accepted"
    await parked(api, call_id_of(second), "debt_limit")
    assert "error" in await ask(api, number)

    payment_id = await stripe.payment(org_id, PAID_MINOR)
    paid = stripe_event(inner={"id": payment_id, "object": "payment_intent"})
    assert accepted(await api.send(paid)) == "accepted"
    await settled(api, call_id_of(second))
    assert await keys_of(api.engine, org_id) == [
        call_key(call_id_of(first)), payment_credit_key(payment_id), call_key(call_id_of(second)),
    ]  # fmt: skip
    assert await balance(api, org_id) == BALANCE_MINOR + PAID_MINOR - 2 * PRICE_MINOR
    await many_calls_are_charged_once(api, assistant)
    assert await flaws(api) == ()


async def many_calls_are_charged_once(api: Api, assistant: str, count: int = 20) -> None:
    """So many that each statement is one that a session has seen before."""
    webhooks = [report(assistant, 60) for _ in range(count)]
    for webhook in webhooks:
        assert accepted(await api.send(webhook)) == "accepted"
    for webhook in webhooks:
        await settled(api, call_id_of(webhook))


async def price(engine: AsyncEngine, org_id: str) -> None:
    """Give an organisation a price of its own, by which a minute costs `PRICE_MINOR`."""
    own = Tariff(
        tariff_id=unique("tariff"),
        currency=Currency.GBP,
        rate_minor_per_minute=Decimal(PRICE_MINOR),
        increment_seconds=1,
        minimum_minor=0,
        fx_rate=Decimal(1),
        wallet_currency=Currency.GBP,
        effective_from=NOON - timedelta(days=100),
        org_id=org_id,
    )
    async with engine.begin() as connection:
        await connection.execute(insert(tariffs).values(asdict(own)))


async def flaws(api: Api) -> tuple[Flaw, ...]:
    """Audit the books; return what does not agree."""
    audit = AuditActivities(api.engine, PlatformRules(), Visibility(api.temporal)).audit_ledger
    began = datetime.fromtimestamp(time.time(), UTC)
    return (await ActivityEnvironment().run(audit, began)).flaws
