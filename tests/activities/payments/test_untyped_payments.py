"""A payment is ours if its type says so; without one, only where it was so before."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import ActivityEnvironment

from activities.payments.payments import FetchedPayment, PaymentActivities
from activities.reconciliation.runs import Comparing
from activities.reconciliation.stripe import StripeReconciliation
from billing.alerts.alert import AlertLevel
from billing.inbox.webhook_event import Source
from billing.payments.payment import Payment, Settlement
from billing.platform_rules import PlatformRules, UntypedPayments
from billing.reconciliation.reconciliation import (
    Finding,
    FindingKind,
    FindingOutcome,
    Progress,
    Run,
    RunStep,
    Window,
)
from store.alerts import alerts
from store.payments import customers, disputes
from store.reconciliation import findings, runs
from tests.activities.payments.test_payments import payment_of
from tests.conftest import NewDatabase
from tests.support.factories import an_organization, balance_of, unique
from tests.support.reconciliation_runs import a_run
from tests.support.stand_ins import StripeStandIn
from tests.workflows.test_reconcile_stripe import now
from wiring import Clients

AUTO, CREDITED, IGNORED = UntypedPayments


async def settle(
    engine: AsyncEngine, payment: Payment, setting: UntypedPayments = IGNORED
) -> Settlement:
    activities = PaymentActivities(engine, PlatformRules(untyped_payments=setting))
    return await ActivityEnvironment().run(activities.settle_payment, FetchedPayment(payment))


async def levels_of(engine: AsyncEngine, payment: Payment) -> list[AlertLevel]:
    async with engine.connect() as connection:
        stored = await alerts.page(connection, None, 1000)
    key = f"payment/{payment.payment_id}/ignored"
    return [one.alert.level for one in stored if one.alert.key == key]


@pytest.mark.parametrize("setting", [CREDITED, IGNORED])
@pytest.mark.parametrize("type_", ["wallet_topup", "wallet_auto_recharge", "subscription", None])
async def test_a_payment_without_a_type_is_credited_only_if_the_setting_says_so(
    engine: AsyncEngine, setting: UntypedPayments, type_: str | None
) -> None:
    org_id = await an_organization(engine)
    settlement = await settle(engine, replace(payment_of(org_id), type=type_), setting)
    is_ours = type_ not in (None, "subscription") or (type_ is None and setting is CREDITED)
    assert settlement.ignored is not is_ours
    assert await balance_of(engine, org_id) == (2500 if is_ours else 0)


async def test_a_new_database_ignores_them_also_when_it_has_credited_others(
    migrated_database: NewDatabase,
) -> None:
    engine = await migrated_database()
    org_id = await an_organization(engine)
    untyped = replace(payment_of(org_id), type=None)
    assert (await settle(engine, untyped, AUTO)).ignored
    assert not (await settle(engine, payment_of(org_id), AUTO)).ignored
    assert (await settle(engine, untyped, AUTO)).ignored
    assert await balance_of(engine, org_id) == 2500
    await engine.dispose()


async def test_a_database_with_top_ups_of_unknown_type_goes_on_crediting_them(
    migrated_database: NewDatabase,
) -> None:
    """As version 0.1 has left it: its top-ups have no note."""
    engine = await migrated_database()
    org_id = await an_organization(engine, 100)
    assert not (await settle(engine, payment_of(org_id), AUTO)).ignored
    assert not (await settle(engine, replace(payment_of(org_id), type=None), AUTO)).ignored
    assert (await settle(engine, replace(payment_of(org_id), type=None), IGNORED)).ignored
    assert await balance_of(engine, org_id) == 5100
    await engine.dispose()


@pytest.mark.parametrize("type_", [None, "subscription"])
@pytest.mark.parametrize(
    ("says", "is_told"),
    [
        ({}, True),
        ({"org_id": None, "session_org_id": "theirs"}, True),
        ({"org_id": None, "customer_id": "theirs"}, True),
        ({"org_id": None}, False),
        ({"org_id": "nobody", "customer_id": "cus_of_nobody"}, False),
        ({"status": "requires_action", "received_minor": 0}, False),
    ],
)
async def test_an_ignored_payment_that_names_somebody_of_ours_is_told_once(
    engine: AsyncEngine, type_: str | None, says: dict[str, Any], *, is_told: bool
) -> None:
    org_id, customer_id = await an_organization(engine), unique("cus")
    async with engine.begin() as connection:
        await customers.remember(connection, org_id, customer_id)
    theirs = {"session_org_id": org_id, "customer_id": customer_id}
    said: dict[str, Any] = {
        name: theirs[name] if value == "theirs" else value for name, value in says.items()
    }
    payment = replace(payment_of(org_id), type=type_, **said)
    settlements = [await settle(engine, payment) for _ in range(2)]
    assert [one.ignored for one in settlements] == [True, True]
    assert [one.alerted for one in settlements] == [is_told, False]
    assert await levels_of(engine, payment) == ([AlertLevel.INFO] if is_told else [])


class Lists:
    """Reconciles what was paid lately by the activity alone, list after list."""

    def __init__(self, engine: AsyncEngine, clients: Clients) -> None:
        self.engine, self.clients = engine, clients
        self.began = now().replace(microsecond=0)

    async def compare(
        self, setting: UntypedPayments, org_id: str | None = None
    ) -> tuple[list[Finding], int]:
        """Return what was found, and how much was checked."""
        window = Window(self.began, now() + timedelta(seconds=1))
        run: Run = a_run(source=Source.STRIPE, org_id=org_id, window=window)
        async with self.engine.begin() as connection:
            await runs.open_run(connection, run)
        activity = StripeReconciliation(
            self.engine, self.clients.stripe, PlatformRules(untyped_payments=setting)
        )
        progress = Progress()
        while progress.step is RunStep.COMPARING:
            at = Comparing(run, progress)
            progress = await ActivityEnvironment().run(activity.compare_payments, at)
        async with self.engine.connect() as connection:
            found = await findings.page(connection, run.run_id, None, 1000)
            report = await runs.report(connection, run.run_id)
        return found, report.total.checked


async def test_reconciliation_lists_what_is_ignored_and_does_nothing_about_it(
    engine: AsyncEngine, clients: Clients, stripe: StripeStandIn
) -> None:
    org_id, lists = await an_organization(engine), Lists(engine, clients)
    customer_id = await stripe.customer()
    async with engine.begin() as connection:
        await customers.remember(connection, org_id, customer_id)
    by_session = await stripe.checkout(org_id, 2500)
    by_metadata = await stripe.payment(org_id, 2500, type="subscription")
    by_customer = await stripe.payment(None, 2500, type="")
    await stripe.edit(by_customer, customer_id)
    nobodys = await stripe.payment(None, 2500, type="subscription")
    found, checked = await lists.compare(IGNORED, org_id)
    assert {one.subject for one in found} == {by_session, by_metadata, by_customer}
    assert {(one.kind, one.outcome, one.org_id, one.due) for one in found} == {
        (FindingKind.UNBILLED, FindingOutcome.REPORTED, org_id, ())
    }
    assert all("ignored: it names" in one.detail for one in found)
    assert checked == 0
    of_all, _ = await lists.compare(IGNORED)
    assert nobodys not in {one.subject for one in of_all}


async def test_a_dispute_of_a_payment_that_stripe_does_not_know_holds_up_nothing(
    engine: AsyncEngine, clients: Clients
) -> None:
    org_id, payment_id = await an_organization(engine), unique("pi")
    async with engine.begin() as connection:
        await disputes.note(connection, org_id, payment_id, unique("du"), is_open=True)
    assert await Lists(engine, clients).compare(IGNORED, org_id) == ([], 0)


async def test_where_they_are_credited_reconciliation_finds_what_only_a_session_names(
    engine: AsyncEngine, clients: Clients, stripe: StripeStandIn
) -> None:
    org_id, lists = await an_organization(engine), Lists(engine, clients)
    by_session = await stripe.checkout(org_id, 2500)
    [finding], checked = await lists.compare(CREDITED, org_id)
    assert (finding.subject, finding.outcome) == (by_session, FindingOutcome.OPEN)
    assert finding.due == (f"payment:{by_session}:credit",)
    assert checked == 1
