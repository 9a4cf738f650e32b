"""What operators watch, as the database has it: an empty one, and one with everything in it."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.calls.call import EndedCall
from billing.inbox.webhook_event import END_OF_CALL, Source, WebhookEvent, call_event_key
from billing.ledger.audit import Audit, Check, Flaw
from billing.ledger.money import Currency, Money
from billing.monitoring import AlertFigures, Figures, InboxFigures, Rate, Rates
from billing.recharges.attempt import AttemptState, Card
from billing.recharges.history import RechargeSettings
from billing.reconciliation.reconciliation import RunStatus
from store.alerts import alerts
from store.calls import calls
from store.inbox import inbox
from store.ledger import audit
from store.monitoring import figures
from store.recharges import recharge_settings, recharges
from tests.support.factories import (
    NOON,
    an_alert,
    an_assistant,
    an_organization,
    ended_call,
    unique,
)
from tests.support.reconciliation_runs import DAY, a_finding, a_run, on, record

AGO = timedelta(minutes=5)


async def read(engine: AsyncEngine, now: datetime = NOON) -> Figures:
    async with engine.connect() as connection:
        return await figures.figures(connection, now)


async def charge(engine: AsyncEngine, *ended: EndedCall) -> None:
    async with engine.begin() as connection:
        await calls.charge(connection, ended)


async def test_of_an_empty_database_nothing_is_wrong_and_nothing_is_made_up(
    engine_apart: AsyncEngine,
) -> None:
    found = await read(engine_apart)
    nothing = Rates(Rate(0, 0), Rate(0, 0), Rate(0, 0))
    assert found.as_of == NOON
    assert found.rates == {"15m": nothing, "1h": nothing, "24h": nothing}
    assert found.organizations == ()
    assert found.inbox == tuple(InboxFigures(source, 0, 0.0) for source in Source)
    assert found.recharges == dict.fromkeys(AttemptState, 0)
    assert {one.source for one in found.reconciliations} == {Source.VAPI, Source.STRIPE}
    assert {one.last_success_at for one in found.reconciliations} == {None}
    assert {one.reliability_percent for one in found.reconciliations} == {None}
    assert (found.audit, found.alerts) == (None, AlertFigures(0, 0.0, 0))
    assert found.parked is None


async def test_each_window_has_its_own_rates(engine_apart: AsyncEngine) -> None:
    assistant = await an_assistant(engine_apart, await an_organization(engine_apart, 10_000))
    ages = (timedelta(minutes=5), timedelta(minutes=30), timedelta(hours=3))
    await charge(engine_apart, *(ended_call(assistant, ended_at=NOON - age) for age in ages))
    found = await read(engine_apart)
    assert [rates.billing.total for rates in found.rates.values()] == [1, 2, 3]
    [one] = found.organizations
    assert [rates.billing.total for rates in one.rates.values()] == [1, 2, 3]


async def test_the_organization_with_the_worst_rate_comes_first_and_of_two_the_busier(
    engine_apart: AsyncEngine,
) -> None:
    well, busy, badly = [await an_organization(engine_apart, 10_000) for _ in range(3)]
    for org_id, good, unbilled in ((well, 1, 0), (busy, 3, 0), (badly, 3, 1)):
        assistant = await an_assistant(engine_apart, org_id)
        ended = [ended_call(assistant, ended_at=NOON - AGO) for _ in range(good + unbilled)]
        contradicted = [replace(one, reported_seconds=Decimal(999)) for one in ended[good:]]
        await charge(engine_apart, *ended[:good], *contradicted)
    found = (await read(engine_apart)).organizations
    assert [one.org_id for one in found] == [badly, busy, well]
    assert found[0].rates["24h"].billing == Rate(3, 4)


async def test_the_inbox_is_told_by_sender_and_what_is_not_due_yet_is_not_old(
    engine_apart: AsyncEngine,
) -> None:
    call = ended_call()
    key = call_event_key(call.call_id, END_OF_CALL)
    late = WebhookEvent(Source.VAPI, key, END_OF_CALL, call.call_id, "{}", facts=call)
    soon = replace(late, key=unique("other"), due_in_seconds=300.0)
    payment = WebhookEvent(Source.STRIPE, unique("evt"), "refund.created", "pi_1", "{}")
    async with engine_apart.begin() as connection:
        await inbox.accept(connection, [late, soon, payment])
        await inbox.handled_by_key(connection, Source.STRIPE, [payment.key])
        now = (await connection.execute(text("SELECT now() + interval '90 s'"))).scalar_one()
    found = {one.source: one for one in (await read(engine_apart, now)).inbox}
    assert found[Source.VAPI].waiting == 2
    assert found[Source.VAPI].oldest_seconds == pytest.approx(90)
    assert found[Source.STRIPE] == InboxFigures(Source.STRIPE, 0, 0.0)


async def test_recharges_of_the_last_day_are_counted_by_their_state(
    engine_apart: AsyncEngine,
) -> None:
    org_id = await an_organization(engine_apart)
    card = Card("cus_1", "pm_1", "fingerprint")
    ends = [AttemptState.SUCCEEDED, AttemptState.DECLINED, AttemptState.DECLINED, None]
    moments = [NOON - 2 * DAY, *[NOON - AGO for _ in ends]]
    async with engine_apart.begin() as connection:
        await recharge_settings.configure(connection, org_id, RechargeSettings())
        for moment, end in zip(moments, [AttemptState.SUCCEEDED, *ends], strict=True):
            amount = Money(5000, Currency.GBP)
            made = await recharges.write_down(connection, org_id, amount, card, moment)
            if end is not None:
                await recharges.change(connection, made.attempt_id, state=end)
    expected = dict.fromkeys(AttemptState, 0) | {
        AttemptState.SUCCEEDED: 1,
        AttemptState.DECLINED: 2,
        AttemptState.OPEN: 1,
    }
    assert (await read(engine_apart)).recharges == expected


async def test_reconciliation_tells_its_last_success_its_last_run_and_seven_days(
    engine_apart: AsyncEngine,
) -> None:
    """A run by hand is the last one, and no success of the daily one."""
    org_id = await an_organization(engine_apart)
    eight_days_ago = NOON - 7 * DAY
    looked = on(NOON, {org_id: 100}) | on(eight_days_ago, {org_id: 1})
    daily = await record(engine_apart, a_run(), looked, a_finding(org_id, 5))
    by_hand = await record(engine_apart, a_run(org_id=org_id), status=RunStatus.PARKED)
    vapi, stripe = (await read(engine_apart)).reconciliations
    assert vapi.last_success_at == daily.finished_at
    assert vapi.reliability_percent == Decimal(99)
    assert (vapi.last_run_id, vapi.last_run_status) == (by_hand.run_id, RunStatus.PARKED)
    assert (stripe.last_run_id, stripe.reliability_percent) == (None, None)


async def test_the_last_audit_counts_its_flaws(engine_apart: AsyncEngine) -> None:
    flaws = (Flaw(Check.BALANCE, "acme", "it is 1"), Flaw(Check.CHAIN, "call:a", "it is 2"))
    async with engine_apart.begin() as connection:
        for found in ((), flaws):
            await audit.record(connection, Audit(NOON, wallets=3, entries=9, flaws=found))
    last = (await read(engine_apart)).audit
    assert last is not None
    assert (last.wallets, last.entries, last.flaws) == (3, 9, 2)


async def test_alerts_that_wait_and_alerts_that_were_given_up_are_told_apart(
    engine_apart: AsyncEngine,
) -> None:
    waiting, told, given_up, long_ago = (an_alert() for _ in range(4))
    async with engine_apart.begin() as connection:
        for alert in (waiting, told, given_up, long_ago):
            await alerts.tell(connection, alert)
        await alerts.delivered(connection, told.key)
        for alert in (given_up, long_ago):
            await alerts.undeliverable(connection, alert.key, "Slack has no such channel")
        age = text("UPDATE alerts SET raised_at = now() - make_interval(secs => :s) WHERE key = :k")
        await connection.execute(age, {"s": 300, "k": waiting.key})
        await connection.execute(age, {"s": 90_000, "k": long_ago.key})
        now = (await connection.execute(text("SELECT now()"))).scalar_one()
    found = (await read(engine_apart, now)).alerts
    assert (found.waiting, found.given_up) == (1, 1)
    assert found.oldest_seconds >= 300
