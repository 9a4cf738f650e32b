"""Version 0.1 is upgraded while it runs: what waits there settles later, once, to the penny."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from billing.calls.call import call_workflow_id
from billing.messages.message import message_workflow_id
from billing.payments.payment import payment_workflow_id
from billing.recharges.recharge import recharge_workflow_id
from devstack import programs
from devstack.demo.platform import Tenant
from devstack.load import fire
from devstack.process import Service
from store.ledger import audit
from store.payments import customers
from tests.support import old_version
from tests.support.adjustments import key_of_an_hour
from tests.support.command_line import callwallet
from tests.support.factories import unique
from tests.support.migrations import migrate_to, revisions_after
from tests.support.parked_workflows import until_parked
from tests.support.recharged_payers import card_becomes, save_card
from tests.support.stand_ins import StripeStandIn, TwilioStandIn, open_stand_ins, open_twilio
from tests.support.world import WAITING, World, kill_and_wait, reports_twice, running_world, until

SENDER = "+15017122661"
WAITING_CALLS = 3
MINUTE, MESSAGE, RECHARGE, PAID, GIVEN = 56, 5, 5000, 700, 60_000
OF_ORGANIZATION = "SELECT count(*) FROM ledger_entries WHERE kind = :kind AND org_id = :org_id"
BALANCE = "SELECT balance_minor FROM wallets WHERE org_id = :org_id"


@dataclass
class Scene:
    """A running system with its providers, and who the work is of that version 0.1 leaves."""

    world: World
    stripe: StripeStandIn
    twilio: TwilioStandIn
    poor: Tenant
    rich: Tenant
    payer: Tenant
    reported: int = 0

    async def report(self, tenant: Tenant, calls: int = 1) -> list[str]:
        """Let one-minute calls be reported, each twice; return their ids."""
        reports = reports_twice(self.world, [tenant], calls)
        shots = await fire(reports.url, reports.requests, connections=2, give_up_seconds=60)
        assert {shot.status for shot in shots} == {200}
        return list(reports.call_ids)

    async def business(self) -> None:
        """Let a call be charged as it comes: somebody accepts it, and somebody works."""
        await self.report(self.rich)
        self.reported += 1
        await self.until_entries(self.rich, "call", self.reported)

    async def until_entries(self, tenant: Tenant, kind: str, count: int) -> None:
        given = {"kind": kind, "org_id": tenant.org_id}
        await until(
            f"{kind} of {tenant.name}",
            count,
            lambda: self.world.scalar(OF_ORGANIZATION, **given),
        )

    async def post(self, path: str, status: int, **body: object) -> None:
        key = {"Idempotency-Key": unique("key")}
        answer = await self.world.http.post(path, json=body, headers=key)
        assert answer.status_code == status, answer.text

    async def parked(self, workflow_id: str, reason: str) -> None:
        await until_parked(self.world.temporal.get_workflow_handle(workflow_id), reason)


async def test_version_0_1_is_upgraded_while_it_runs_and_nothing_is_lost_or_charged_twice(
    tmp_path: Path,
) -> None:
    tree = old_version.check_out(tmp_path / "version-0.1")
    async with version_0_1(tree, tmp_path / "state") as scene:
        world, late = scene.world, Tenant(unique("late"), "late", scene.poor.currency, "")
        calls = await scene.report(scene.poor, WAITING_CALLS)
        for call_id in calls:
            await scene.parked(call_workflow_id(call_id), "debt_limit")
        message = await scene.twilio.sends(SENDER)
        await scene.twilio.becomes(message, "sent")
        await scene.parked(message_workflow_id(message), "debt_limit")
        payment = await scene.stripe.payment(late.org_id, PAID)
        await scene.parked(payment_workflow_id(payment), "unknown_organization")
        card = await with_a_card_that_declines(scene)
        await scene.parked(recharge_workflow_id(scene.payer.org_id), "card_declined")
        adjustment = await asked_for(scene)
        await scene.business()

        for revision in revisions_after(old_version.LAST_MIGRATION):
            await migrate_to(world.engine, revision)
            await scene.business()

        # Then the second role: what runs goes on as the first, which owns all.
        ended = await callwallet(world.stack.owner_settings(), "setup")
        assert ended.status == 0, ended.said
        await scene.business()

        async with another_worker(world):
            await scene.business()
            await kill_and_wait(world.stack, "worker")
        await kill_and_wait(world.stack, "api")
        await scene.business()
        ready = await world.http.get("/health/ready")
        assert ready.json()["warnings"] == []

        await world.customer.tops_up(scene.poor, 2000)
        await scene.until_entries(scene.poor, "call", WAITING_CALLS)
        await scene.until_entries(scene.poor, "sms", 1)
        new = {"org_id": late.org_id, "name": "late", "currency": "gbp"}
        await scene.post("/v1/organizations", 201, **new)
        await reprocess(scene, payment_workflow_id(payment))
        await scene.until_entries(late, "topup", 1)
        await card_becomes(scene.stripe, card, "pm_card_visa")
        await reprocess(scene, recharge_workflow_id(scene.payer.org_id))
        await scene.until_entries(scene.payer, "topup", 1)
        await approve(scene, adjustment)
        await scene.until_entries(scene.rich, "adjustment", 1)

        await until("unhandled events", 0, lambda: world.scalar(WAITING))
        await the_books_are_exact(scene, late)


@asynccontextmanager
async def version_0_1(tree: Path, state: Path) -> AsyncIterator[Scene]:
    """Start version 0.1. Whatever of it is started anew after that is of today."""
    async with AsyncExitStack() as running:
        with old_version.run_from(tree):
            world = await running.enter_async_context(running_world(state))
        stripe, _ = await running.enter_async_context(open_stand_ins(world.stack))
        twilio = await running.enter_async_context(open_twilio(world.stack))
        poor, payer = await world.creates("poor", 0), await world.creates("payer", 0)
        scene = Scene(world, stripe, twilio, poor, await world.creates("rich", 10_000), payer)
        senders = f"/v1/organizations/{poor.org_id}/senders"
        await scene.post(senders, 201, phone_number=SENDER)
        yield scene


@asynccontextmanager
async def another_worker(world: World) -> AsyncIterator[None]:
    """A worker of today beside the one that runs."""

    async def is_ready(_: int) -> bool:
        return True

    state, env = world.stack.state, world.stack.settings()
    beside = Service(lambda: programs.worker(state, env), is_ready)
    await beside.start()
    yield
    await beside.stop()


async def with_a_card_that_declines(scene: Scene) -> str:
    """Switch recharging on for somebody who is short at once, and whose card has no money."""
    org_id, customer = scene.payer.org_id, await scene.stripe.customer()
    async with scene.world.engine.begin() as connection:
        await customers.remember(connection, org_id, customer)
    card = await save_card(scene.stripe, customer)
    await card_becomes(scene.stripe, card, "pm_card_chargeDeclinedInsufficientFunds")
    path = f"/v1/organizations/{org_id}/auto-recharge"
    (await scene.world.http.put(path, json={"enabled": True})).raise_for_status()
    return card


async def asked_for(scene: Scene) -> str:
    """Ask for an adjustment that a second operator must approve; return its path."""
    asked = {"direction": "credit", "amount_minor": GIVEN, "currency": "gbp", "reason": "a test"}
    path = f"/v1/organizations/{scene.rich.org_id}/adjustments"
    key = {"Idempotency-Key": unique("key")}
    answer = await scene.world.http.post(path, json=asked, headers=key)
    assert answer.status_code == 202, answer.text
    return f"/v1/adjustments/{answer.json()['adjustment_id']}"


async def approve(scene: Scene, adjustment: str) -> None:
    bob = {"Authorization": f"Bearer {await key_of_an_hour(scene.world.engine)}"}
    path = f"{scene.world.stack.api_url}{adjustment}/approve"
    async with httpx.AsyncClient(trust_env=False, headers=bob) as http:
        (await http.post(path, json={"note": "it is right"})).raise_for_status()


async def reprocess(scene: Scene, workflow_id: str) -> None:
    handle = scene.world.temporal.get_workflow_handle(workflow_id)
    await handle.signal("reprocess", "ann: after the upgrade")


async def the_books_are_exact(scene: Scene, late: Tenant) -> None:
    world = scene.world
    expected = {
        scene.poor.org_id: 2000 - WAITING_CALLS * MINUTE - MESSAGE,
        scene.rich.org_id: GIVEN - scene.reported * MINUTE,
        scene.payer.org_id: RECHARGE,
        late.org_id: PAID,
    }
    for org_id, balance in expected.items():
        assert await world.scalar(BALANCE, org_id=org_id) == balance
    async with world.engine.connect() as connection:
        assert await audit.of_organizations(connection, list(expected)) == []
        assert await audit.of_webhooks(connection, untyped_are_ours=True) == []
