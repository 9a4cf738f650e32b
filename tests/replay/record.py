"""Record the histories that later code must still replay: `python -m tests.replay.record`.

Run it when a process has got a new way to go; what was recorded before stays, under its own name.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

import billing.reconciliation.reconciliation
from billing.adjustments import Proposal, Word
from billing.calls.call import EndedCall
from billing.calls.length import StatedLength
from billing.collection import CollectionRequest
from billing.inbox.webhook_event import ObjectHint, PaymentHint, Source
from billing.parking.parked_work import BulkDecision, ParkedFilter, Verdict
from billing.payments.payment import payment_workflow_id
from billing.reconciliation.reconciliation import Window
from devstack.stack import Stack
from processes import webhook_events
from processes.namespace import prepare
from settings import WorkerSettings, platform_rules
from store import adjustments
from store.alerts import alerts
from store.database import engine as store_engine
from store.database import roles
from tests.support.checkouts import SESSIONS, ask, start, top_up
from tests.support.eventually import eventually
from tests.support.factories import (
    NOON,
    a_sender,
    a_sid,
    an_alert,
    an_assistant,
    an_organization,
    credit,
    ended_call,
    register,
    unique,
)
from tests.support.inbox_events import drain, event_of, report_of, thin_event_of
from tests.support.messages import (
    a_message,
    callback_of,
    drain_messages_of,
    is_charged,
    report_statuses,
    seen_message,
)
from tests.support.migrations import set_up
from tests.support.parked_workflows import (
    calls_that_wait,
    discard,
    reprocess,
    start_bill,
    until_parked,
)
from tests.support.proposals import BOB, proposed
from tests.support.recharged_payers import (
    a_payer,
    attempts_of,
    card_becomes,
    charges_fail,
    configure,
    handle_of,
    recharge,
    save_card,
    until_over,
)
from tests.support.reconciled_days import Reconciler, a_day, calls_on
from tests.support.stand_ins import (
    SlackStandIn,
    StripeStandIn,
    TwilioStandIn,
    VapiStandIn,
    open_slack,
    open_stand_ins,
    open_twilio,
)
from tests.support.watch_rounds import connections_refused
from wiring import open_clients
from worker import build_workers
from workflows import adjust, decide_parked, drain_inbox, drain_messages
from workflows.adjust import Adjust
from workflows.audit_ledger import AuditLedger
from workflows.checkout import Checkout, checkout_workflow_id
from workflows.collect import Collect
from workflows.decide_parked import DecideParked
from workflows.deliver_alerts import DeliverAlerts
from workflows.prune_inbox import PruneInbox
from workflows.shared import alert_requests, collection_requests
from workflows.shared.data_converter import DATA_CONVERTER
from workflows.shared.options import BILLING_QUEUE
from workflows.sweep_waiting import SweepWaiting
from workflows.watch_billing import Watch, WatchBilling

HISTORIES = Path(__file__).parent / "histories"
# What differs from machine to machine, and replays the same without.
_LOCAL = ("stackTrace", "binaryChecksum", "gitRevision")


@dataclass(frozen=True)
class World:
    temporal: Client
    engine: AsyncEngine
    stripe: StripeStandIn
    vapi: VapiStandIn
    slack: SlackStandIn
    twilio: TwilioStandIn

    async def keep(self, workflow_id: str, name: str) -> None:
        """Write the history of a workflow, unless one of this name was recorded before."""
        file = HISTORIES / f"{name}.json"
        history = await self.temporal.get_workflow_handle(workflow_id).fetch_history()
        if not file.exists():
            file.write_text(json.dumps(_portable(json.loads(history.to_json())), indent=1) + "\n")

    async def find_payment(self, hint: ObjectHint) -> None:
        """Hear of a thin event, and let its process end."""
        await webhook_events.start(self.temporal, thin_event_of(hint))
        await self.temporal.get_workflow_handle(hint.workflow_id).result()

    async def call_in_progress(self, call: EndedCall) -> Any:
        """Let a call wait for its end; answers with its workflow."""
        await self.vapi.knows(replace(call, ended_at=None), "in-progress")
        handle = await start_bill(self.temporal, EndedCall(call.call_id, call.assistant_id))
        await until_parked(handle, "call_not_ended")
        return handle

    async def waiting_call(self, seconds: float = 600) -> tuple[str, Any]:
        """Let a call wait for money; answers with its organisation and its workflow."""
        org_id = await an_organization(self.engine)
        call = ended_call(await an_assistant(self.engine, org_id), seconds)
        handle = await start_bill(self.temporal, call)
        await until_parked(handle, "debt_limit")
        return org_id, handle


async def main() -> None:
    """Run every way that the processes can go, and keep their histories."""
    HISTORIES.mkdir(exist_ok=True)
    async with _world() as world:
        await _calls(world)
        await _unready_calls(world)
        await _many_at_once(world)
        await _payments(world)
        await _thin_events(world)
        await _checkouts(world)
        await _recharges(world)
        await _saved_cards(world)
        await _withdrawn_page(world)
        await _drain(world)
        await _messages(world)
        await _message_that_was_given_up(world)
        await _alerts(world)
        await _adjustments(world)
        await _reconciliations(world)
    for file in sorted(HISTORIES.glob("*.json")):
        sys.stdout.write(f"{file.name}\n")


async def _calls(world: World) -> None:
    org_id = await an_organization(world.engine)
    settled = await start_bill(world.temporal, ended_call(await an_assistant(world.engine, org_id)))
    await settled.result()
    await world.keep(settled.id, "bill_call_settled")

    org_id, handle = await world.waiting_call()
    await reprocess(handle, "Ann: just looking")
    await credit(world.engine, org_id, 1000)
    await reprocess(handle, "Ann: the money is there")
    await world.keep(handle.id, "bill_call_debt_limit_reprocessed")

    _, handle = await world.waiting_call()
    await discard(handle, "Ann: agreed with the customer")
    await world.keep(handle.id, "bill_call_discarded")


async def _unready_calls(world: World) -> None:
    org_id = await an_organization(world.engine)
    call = ended_call(await an_assistant(world.engine, org_id))
    await world.vapi.knows(call)
    await world.vapi.misbehave(call.call_id, kind="status", status=500, times=3)
    handle = await start_bill(world.temporal, replace(call, ended_at=None))
    await until_parked(handle, "fault")
    await handle.signal("reprocess", "Ann: mended")
    await handle.result()
    await world.keep(handle.id, "bill_call_vapi_fault")

    ownerless = ended_call(unique("assistant"))
    handle = await start_bill(world.temporal, ownerless)
    await until_parked(handle, "unknown_assistant")
    await register(world.engine, str(ownerless.assistant_id), org_id)
    await world.temporal.execute_workflow(
        Collect.run, CollectionRequest(org_id), **collection_requests.start_options(org_id)
    )
    await handle.result()
    await world.keep(handle.id, "bill_call_unknown_assistant")
    await _told_calls(world)
    await _unnamed_calls(world)
    await world.keep(f"collect/{org_id}", "collect")


async def _told_calls(world: World) -> None:
    """Tell a call that waits of its report, by the API and by the drain."""
    org_id = await an_organization(world.engine)
    call = ended_call(await an_assistant(world.engine, org_id))
    handle = await world.call_in_progress(call)
    await webhook_events.start(world.temporal, report_of(call))
    await handle.result()
    await world.keep(handle.id, "bill_call_told")

    endless = ended_call(await an_assistant(world.engine, org_id), 72_000)
    await world.vapi.knows(endless)
    handle = await start_bill(world.temporal, endless)
    await until_parked(handle, "unknown_duration")
    length = StatedLength(Decimal(61), "Ann: the recording says so", NOON)
    await handle.execute_update("charge_length", length)
    await handle.result()
    await world.keep(handle.id, "bill_call_length_stated")

    dear = ended_call(await an_assistant(world.engine, org_id), 3600)
    await world.call_in_progress(dear)
    await drain(world.temporal, world.engine, report_of(dear))
    await world.keep(drain_inbox.WORKFLOW_ID, "drain_inbox_tells")


async def _unnamed_calls(world: World) -> None:
    """Ask Vapi whose a call is: it names an assistant, or is not asked again."""
    org_id = await an_organization(world.engine)
    call = ended_call(await an_assistant(world.engine, org_id))
    await world.vapi.knows(call)
    handle = await start_bill(world.temporal, replace(call, assistant_id=None))
    await handle.result()
    await world.keep(handle.id, "bill_call_asks_whose_it_is")

    handle = await start_bill(world.temporal, ended_call())
    await until_parked(handle, "unknown_assistant")
    await reprocess(handle, "Ann: just looking")
    await discard(handle, "Ann: a test call")
    await world.keep(handle.id, "bill_call_nobody_knows_whose_it_is")


async def _many_at_once(world: World) -> None:
    """Decide about the calls of an organisation, of which one has ended in the meantime."""
    org_id, handles = await calls_that_wait(world.temporal, world.engine, 3)
    which = ParkedFilter(org_id)
    bulk = BulkDecision(unique("bulk"), Verdict.DISCARD, which, "Ann: a test", per_second=1)
    options = decide_parked.start_options(bulk)
    deciding = await world.temporal.start_workflow(DecideParked.run, bulk, **options)
    await discard(handles[0], "Bob: at once")
    await deciding.result()
    await world.keep(deciding.id, "decide_parked")


async def _payments(world: World) -> None:
    org_id, waiting = await world.waiting_call()
    payment_id = await world.stripe.payment(org_id, 2500)
    await _look_at(world, payment_id)
    await waiting.result()
    await world.keep(f"payment/{payment_id}", "settle_payment_credited")

    payment_id = await world.stripe.payment(org_id, 2500)
    await _look_at(world, payment_id)
    await world.stripe.refund(payment_id, amount=900, status="pending")
    dispute = await world.stripe.dispute(payment_id, amount=1600)
    await world.stripe.dispute_becomes(dispute, "won")
    await _look_at(world, payment_id)
    await world.keep(f"payment/{payment_id}", "settle_payment_refunded_and_disputed")

    payment_id = await world.stripe.payment(org_id, 2500)
    await world.stripe.dispute(payment_id, currency="usd")
    await _look_at(world, payment_id, "dispute_currency_mismatch")
    await world.keep(f"payment/{payment_id}", "settle_payment_dispute_currency_discarded")

    payment_id = await world.stripe.payment(org_id, 2000, amount_minor="2500")
    await _look_at(world, payment_id, "amount_mismatch")
    await world.keep(f"payment/{payment_id}", "settle_payment_amount_mismatch_discarded")
    await world.stripe.refund(payment_id)
    await _look_at(world, payment_id)
    await world.keep(f"payment/{payment_id}", "settle_payment_refunded_though_discarded")

    payment_id = await world.stripe.payment(org_id, 2500)
    await _look_at(world, payment_id)
    await world.stripe.edit(payment_id, type="subscription")
    await world.stripe.refund(payment_id, amount=900)
    await _look_at(world, payment_id)
    await world.keep(f"payment/{payment_id}", "settle_payment_refunded_though_edited")

    payment_id = unique("pi")
    await _look_at(world, payment_id, "payment_missing")
    await world.keep(f"payment/{payment_id}", "settle_payment_missing_discarded")


async def _thin_events(world: World) -> None:
    """They lead to a payment; to none, and to a checkout; to what Stripe does not know."""
    org_id = await an_organization(world.engine)
    payment_id = await world.stripe.payment(org_id, 2500)
    hint = ObjectHint("refund", await world.stripe.refund(payment_id, amount=900), unique("evt"))
    await world.find_payment(hint)
    await world.keep(hint.workflow_id, "find_payment_found")

    dispute_id = await world.stripe.dispute(payment_id, amount=100)
    hint = ObjectHint("dispute", dispute_id, unique("evt"))
    await drain(world.temporal, world.engine, thin_event_of(hint))
    await world.keep(drain_inbox.WORKFLOW_ID, "drain_inbox_thin_event")

    await start(world.temporal, top_up(org_id))
    [session] = await eventually(lambda: world.stripe.sessions(org_id))
    await world.stripe.expire(session["id"])
    hint = ObjectHint("checkout.session", session["id"], unique("evt"))
    await world.find_payment(hint)
    await world.keep(hint.workflow_id, "find_payment_of_a_session_without_one")

    hint = ObjectHint("charge", unique("ch"), unique("evt"))
    await webhook_events.start(world.temporal, thin_event_of(hint))
    handle = world.temporal.get_workflow_handle(hint.workflow_id)
    await until_parked(handle, "payment_missing")
    await discard(handle, "Ann: it is another account's")
    await handle.result()
    await world.keep(hint.workflow_id, "find_payment_missing_discarded")


async def _checkouts(world: World) -> None:
    """Paid by a bank that takes its time; parked, opened and expired; given up."""
    wanted = top_up(await an_organization(world.engine))
    session = await ask(world.temporal, wanted)
    await world.stripe.pay(session.session_id, "pm_bacsDebit_success")
    await ask(world.temporal, wanted)
    await world.stripe.clear(session.session_id, succeed=True)
    handle = world.temporal.get_workflow_handle(checkout_workflow_id(wanted))
    await handle.signal(Checkout.look_again, "evt_1")
    await handle.result()
    await world.keep(handle.id, "checkout_paid_by_bank_debit")

    wanted = top_up(await an_organization(world.engine))
    await world.stripe.posts_misbehave(SESSIONS, kind="status", status=500, times=3)
    handle = await start(world.temporal, wanted)
    await until_parked(handle, "fault")
    session = await ask(world.temporal, wanted)
    await world.stripe.expire(session.session_id)
    await ask(world.temporal, wanted)
    await handle.result()
    await world.keep(handle.id, "checkout_fault_then_expired")

    wanted = top_up(await an_organization(world.engine))
    await ask(world.temporal, wanted)
    handle = world.temporal.get_workflow_handle(checkout_workflow_id(wanted))
    await handle.signal(Checkout.discard, "Ann: a test")
    await handle.result()
    await world.keep(handle.id, "checkout_discarded")


async def _look_at(world: World, payment_id: str, parks_for: str | None = None) -> None:
    hint = PaymentHint(payment_id, unique("evt"))
    await webhook_events.start(world.temporal, event_of(hint))
    handle = world.temporal.get_workflow_handle(payment_workflow_id(payment_id))
    if parks_for is not None:
        await until_parked(handle, parks_for)
        await reprocess(handle, "Ann: just looking")
        await discard(handle, "Ann: refunded it")
    await handle.result()


async def _recharges(world: World) -> None:
    """Cross a threshold; be declined and get another card; be asked; and not be answered."""
    payer = await a_payer(world.engine, world.stripe)
    call = ended_call(await an_assistant(world.engine, payer.org_id), 600)
    short = await start_bill(world.temporal, call)
    await short.result()
    await until_over(world.temporal, payer)
    await world.keep(short.id, "bill_call_short")
    await world.keep(handle_of(world.temporal, payer).id, "auto_recharge_paid")
    [attempt] = await attempts_of(world.engine, payer)
    await world.temporal.get_workflow_handle(f"payment/{attempt.payment_id}").result()
    await world.keep(f"payment/{attempt.payment_id}", "settle_payment_recharged")

    payer = await a_payer(world.engine, world.stripe, 400)
    await card_becomes(world.stripe, payer.card_id, "pm_card_chargeDeclinedLostCard")
    handle = await recharge(world.temporal, payer)
    await until_parked(handle, "recharge_suspended")
    await save_card(world.stripe, payer.customer_id, "pm_card_authenticationRequired")
    await recharge(world.temporal, payer, "changed")
    await until_parked(handle, "requires_action")
    await world.stripe.http.post(str((await attempts_of(world.engine, payer))[-1].link))
    await recharge(world.temporal, payer, "changed")
    await until_over(world.temporal, payer)
    await world.keep(handle.id, "auto_recharge_suspended_then_confirmed")

    payer = await a_payer(world.engine, world.stripe, 400)
    await charges_fail(world.stripe, kind="status", status=503)
    handle = await recharge(world.temporal, payer)
    await until_parked(handle, "fault")
    await handle.signal("reprocess", "Ann: Stripe is back")
    await until_over(world.temporal, payer)
    await world.keep(handle.id, "auto_recharge_unknown")
    await _unusual_recharges(world)


async def _saved_cards(world: World) -> None:
    """Save a card by a checkout; have its replacement found at night; be refused the key."""
    payer = await a_payer(world.engine, world.stripe)
    session = await ask(world.temporal, replace(top_up(payer.org_id), save_card=True))
    payment_id = await world.stripe.pay(session.session_id)
    await _look_at(world, payment_id)
    await world.keep(f"payment/{payment_id}", "settle_payment_saves_card")

    await save_card(world.stripe, payer.customer_id)
    long_ago = a_day()
    cards = Reconciler(world.temporal, world.engine, Source.STRIPE)
    handle = await cards.start(long_ago, org_id=payer.org_id)
    await handle.result()
    await world.keep(handle.id, "reconcile_stripe_mends_card")

    payer = await a_payer(world.engine, world.stripe, 400)
    await charges_fail(world.stripe, kind="status", status=401)
    handle = await recharge(world.temporal, payer)
    await until_parked(handle, "key_refused")
    await handle.signal("reprocess", "Ann: the key is right now")
    await until_over(world.temporal, payer)
    await world.keep(handle.id, "auto_recharge_key_refused")


async def _unusual_recharges(world: World) -> None:
    """Be refused by Stripe; approve what is above the caps; pay by a bank that does not pay."""
    payer = await a_payer(world.engine, world.stripe, 400)
    await charges_fail(world.stripe, kind="status", status=400)
    handle = await recharge(world.temporal, payer)
    await until_parked(handle, "fault")
    await handle.signal("reprocess", "Ann: mended")
    await until_over(world.temporal, payer)
    await world.keep(handle.id, "auto_recharge_refused")

    payer = await a_payer(world.engine, world.stripe, 400, amount_minor=60_000)
    handle = await recharge(world.temporal, payer)
    await until_parked(handle, "recharge_above_cap")
    await handle.signal("reprocess", "Ann: they have asked for it")
    await until_over(world.temporal, payer)
    await world.keep(handle.id, "auto_recharge_above_cap_approved")

    payer = await a_payer(world.engine, world.stripe, 400)
    await card_becomes(world.stripe, payer.card_id, "pm_card_authenticationRequired")
    handle = await recharge(world.temporal, payer)
    await until_parked(handle, "requires_action")
    session_id = str((await attempts_of(world.engine, payer))[-1].session_id)
    await world.stripe.pay(session_id, "pm_bacsDebit_success")
    await recharge(world.temporal, payer, "changed")
    await until_parked(handle, "fault")
    await world.stripe.clear(session_id, succeed=False)
    await recharge(world.temporal, payer, "changed")
    await until_parked(handle, "recharge_suspended")
    await discard(handle, "Ann: they pay by invoice")
    await world.keep(handle.id, "auto_recharge_debit_refused_then_discarded")


async def _drain(world: World) -> None:
    org_id = await an_organization(world.engine)
    assistant = await an_assistant(world.engine, org_id)
    dear = report_of(ended_call(assistant, 3600))
    paid = event_of(PaymentHint(await world.stripe.payment(org_id, 2500), unique("evt")))
    await drain(world.temporal, world.engine, report_of(ended_call(assistant)), paid)
    ownerless = report_of(ended_call(unique("assistant")))
    await drain(world.temporal, world.engine, dear, ownerless)
    await world.keep(drain_inbox.WORKFLOW_ID, "drain_inbox")


async def _withdrawn_page(world: World) -> None:
    """Ask the customer to confirm, and have recharging switched off before they do."""
    payer = await a_payer(world.engine, world.stripe, 400)
    await card_becomes(world.stripe, payer.card_id, "pm_card_authenticationRequired")
    handle = await recharge(world.temporal, payer)
    await until_parked(handle, "requires_action")
    await configure(world.engine, payer.org_id, enabled=False)
    await recharge(world.temporal, payer, "changed")
    await until_over(world.temporal, payer)
    await world.keep(handle.id, "auto_recharge_page_withdrawn")


async def _message_that_was_given_up(world: World) -> None:
    """Hear once more of a message that Twilio does not know, and that a person has given up."""
    sid = a_sid()
    handle = await report_statuses(world.temporal, sid, "delivered")
    await until_parked(handle, "message_missing")
    await discard(handle, "Ann: deleted at Twilio")
    await handle.result()
    again = await report_statuses(world.temporal, sid, "delivered")
    await again.result()
    await world.keep(again.id, "bill_message_given_up_heard_of_again")


async def _messages(world: World) -> None:
    """A message that is charged and given back; two that wait; one of which nobody hears more."""
    org_id = await an_organization(world.engine, 5)
    sender = await a_sender(world.engine, org_id)
    sid = await a_message(world.twilio, sender, "sent")
    handle = await report_statuses(world.temporal, sid, "queued", "sent")
    await eventually(lambda: is_charged(world.engine, sid))
    await report_statuses(world.temporal, sid, "undelivered")
    await handle.result()
    await world.keep(handle.id, "bill_message_reversed")

    dear = await a_message(world.twilio, sender, "delivered", segments=200)
    handle = await report_statuses(world.temporal, dear, "delivered")
    await until_parked(handle, "debt_limit")
    await credit(world.engine, org_id, 1000)
    await world.temporal.execute_workflow(
        Collect.run, CollectionRequest(org_id), **collection_requests.start_options(org_id)
    )
    await handle.result()
    await world.keep(handle.id, "bill_message_debt_limit_collected")
    await world.keep(f"collect/{org_id}", "collect_messages")

    stray = await a_message(world.twilio, unique("+1"), "delivered")
    await world.twilio.misbehave(stray, kind="status", status=500, times=3)
    handle = await report_statuses(world.temporal, stray, "delivered")
    await until_parked(handle, "fault")
    await reprocess(handle, "Ann: it is back")
    await until_parked(handle, "unknown_sender")
    await discard(handle, "Ann: nobody's")
    await handle.result()
    await world.keep(handle.id, "bill_message_unknown_sender_discarded")

    heard = [seen_message(await a_message(world.twilio, sender, "delivered"), "delivered")]
    heard.append(
        seen_message(await a_message(world.twilio, sender, "delivered", segments=999), "delivered")
    )
    await drain_messages_of(world.temporal, world.engine, *map(callback_of, heard))
    await world.keep(drain_messages.WORKFLOW_ID, "drain_messages")


async def _alerts(world: World) -> None:
    """Have an alert delivered that Slack does not take at once, and be told of more meanwhile."""
    await world.slack.misbehave(kind="status", status=500)
    async with world.engine.begin() as connection:
        await alerts.tell(connection, an_alert())
    handle = await world.temporal.start_workflow(
        DeliverAlerts.run, 0, **alert_requests.start_options()
    )
    await handle.signal(DeliverAlerts.again, "a recorder")
    await handle.result()
    await world.keep(handle.id, "deliver_alerts")


async def _reconciliations(world: World) -> None:
    """Park a run and let it recover two calls; recover a payment; refuse and give up a run."""
    org_id = await an_organization(world.engine, 1000)
    day = a_day()
    await world.vapi.lists(*calls_on(day, await an_assistant(world.engine, org_id), 2))
    await world.vapi.list_misbehaves(kind="status", status=401, times=3)
    calls = Reconciler(world.temporal, world.engine)
    handle = await calls.start(day)
    await until_parked(handle, "fault")
    await reprocess(handle, "Ann: the key is right now")
    await handle.result()
    await world.keep(handle.id, "reconcile_vapi_parked_and_recovered")

    day = a_day()
    [call] = calls_on(day, await an_assistant(world.engine, org_id), 1)
    handle = await world.call_in_progress(call)
    await world.vapi.lists(call)
    reconciling = await calls.start(day)
    await reconciling.result()
    await world.keep(handle.id, "bill_call_told_by_reconciliation")
    await world.keep(reconciling.id, "reconcile_vapi_tells")

    handle = await calls.start(Window(day.until, day.since))
    await handle.result()
    await world.keep(handle.id, "reconcile_vapi_refused")

    await world.vapi.list_misbehaves(kind="status", status=401, times=3)
    handle = await calls.start(a_day(), dry_run=True)
    await until_parked(handle, "fault")
    await discard(handle, "Ann: not needed")
    await handle.result()
    await world.keep(handle.id, "reconcile_vapi_discarded")

    await world.stripe.payment(org_id, 2500)
    billing.reconciliation.reconciliation.GRACE = timedelta(seconds=-2)
    now = datetime.fromtimestamp(time.time(), UTC)
    payments = Reconciler(world.temporal, world.engine, Source.STRIPE)
    handle = await payments.start(Window(now - timedelta(hours=1), now + timedelta(seconds=1)))
    await handle.result()
    await world.keep(handle.id, "reconcile_stripe")

    await _watches(world)
    round_ = "audit-ledger-recorded"
    await world.temporal.execute_workflow(AuditLedger.run, id=round_, task_queue=BILLING_QUEUE)
    await world.keep(round_, "audit_ledger")
    await world.temporal.execute_workflow(
        PruneInbox.run, None, id="prune-inbox-recorded", task_queue=BILLING_QUEUE
    )
    await world.keep("prune-inbox-recorded", "prune_inbox")
    await _sweeps(world)


async def _sweeps(world: World) -> None:
    """Sweep while a call can be paid, and one whose process was terminated waits for an owner."""
    org_id, waiting = await world.waiting_call()
    await credit(world.engine, org_id, 10_000)
    lost = await start_bill(world.temporal, ended_call(unique("assistant")))
    await until_parked(lost, "unknown_assistant")
    await lost.terminate("recorded")
    async with world.engine.begin() as connection:
        await connection.execute(text("UPDATE calls SET updated_at = now() - interval '1 day'"))
    swept = "sweep-waiting-recorded"
    await world.temporal.execute_workflow(
        SweepWaiting.run, None, id=swept, task_queue=BILLING_QUEUE
    )
    await waiting.result()
    await world.keep(swept, "sweep_waiting")


async def _watches(world: World) -> None:
    """Look twice; and look while PostgreSQL lets nobody in."""
    watch, queue = Watch(rounds=2, every=timedelta(seconds=1)), BILLING_QUEUE
    seen = "watch-billing-recorded"
    await world.temporal.execute_workflow(WatchBilling.run, watch, id=seen, task_queue=queue)
    await world.keep(seen, "watch_billing")
    blind = "watch-billing-blind"
    async with connections_refused(world.engine):
        handle = await world.temporal.start_workflow(
            WatchBilling.run, watch, id=blind, task_queue=queue
        )
        await eventually(lambda: world.slack.messages(blind))
    await handle.result()
    await world.keep(blind, "watch_billing_blind")


async def _adjustments(world: World) -> None:
    org_id, waiting = await world.waiting_call()
    small = await _propose(world, proposed(org_id, 1000, needs_approval=False))
    await small.result()
    await waiting.result()
    await world.keep(small.id, "adjust_applied")

    approved = await _propose(world, proposed(org_id), parks=True)
    await reprocess(approved, "Ann: just looking")
    await approved.execute_update("approve", Word(BOB, "looks right"))
    await world.keep(approved.id, "adjust_approved")

    signalled = await _propose(world, proposed(org_id), parks=True)
    await signalled.signal(Adjust.approve, "Bob: the API is down")
    await signalled.result()
    await world.keep(signalled.id, "adjust_approved_by_signal")

    discarded = await _propose(world, proposed(org_id), parks=True)
    await discard(discarded, "Bob: a mistake")
    await world.keep(discarded.id, "adjust_discarded")

    await _expire(world, proposed(org_id))


async def _expire(world: World, proposal: Proposal) -> None:
    """Go on with one that somebody asked for almost a week ago."""
    soon = datetime.now(UTC) + timedelta(seconds=3)  # noqa: TID251
    async with world.engine.begin() as connection:
        await adjustments.create(connection, proposal, soon - timedelta(days=7), soon)
    handle = await _propose(world, proposal)
    await handle.result()
    await world.keep(handle.id, "adjust_expired")


async def _propose(world: World, proposal: Proposal, *, parks: bool = False) -> Any:
    options = adjust.start_options(proposal)
    handle = await world.temporal.start_workflow(Adjust.run, proposal, **options)
    if parks:
        await until_parked(handle, "approval")
    return handle


@asynccontextmanager
async def _world() -> AsyncIterator[World]:
    parts = ("postgres", "temporal", "providers")
    async with AsyncExitStack() as opened:
        state = opened.enter_context(tempfile.TemporaryDirectory())
        stack = await opened.enter_async_context(Stack(Path(state), parts=parts))
        given = {name.lower(): value for name, value in stack.settings().items()}
        known = {
            name: value for name, value in given.items() if name in WorkerSettings.model_fields
        }
        settings = WorkerSettings.model_validate(known)
        clients = await opened.enter_async_context(open_clients(settings, "worker"))
        owner = store_engine.connect(stack.postgres.url(), application_name="recorder")
        opened.push_async_callback(owner.dispose)
        await set_up(owner, roles.service_beside(owner.url, settings.database_url))
        # The identity is written into every history; the usual one names the machine.
        temporal = await Client.connect(
            settings.temporal_address,
            namespace=settings.temporal_namespace,
            data_converter=DATA_CONVERTER,
            identity="recorder",
        )
        await prepare(temporal)
        for worker in build_workers(temporal, clients, platform_rules(settings)):
            await opened.enter_async_context(worker)
        stand_ins = await opened.enter_async_context(open_stand_ins(stack))
        slack = await opened.enter_async_context(open_slack(stack))
        twilio = await opened.enter_async_context(open_twilio(stack))
        yield World(temporal, owner, *stand_ins, slack, twilio)


def _portable(recorded: Any) -> Any:
    """Leave out what tells of the machine that it was recorded on."""
    if isinstance(recorded, list):
        return [_portable(one) for one in recorded]
    if isinstance(recorded, dict):
        return {name: _portable(value) for name, value in recorded.items() if name not in _LOCAL}
    return recorded


if __name__ == "__main__":
    asyncio.run(main())
