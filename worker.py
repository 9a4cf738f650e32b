"""The worker: runs the workflows, and the activities on both task queues."""

import asyncio
import signal
import sys
from datetime import timedelta

import structlog
import uvloop
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

import logs
from activities.adjustments import AdjustmentActivities
from activities.alerts.outbox import AlertActivities
from activities.calls.calls import CallActivities
from activities.calls.vapi import VapiActivities
from activities.collection.collection import CollectionActivities
from activities.collection.sweep import SweepActivities
from activities.inbox.inbox import InboxActivities
from activities.inbox.retention import RetentionActivities
from activities.ledger.audit import AuditActivities
from activities.messages.message_batches import MessageLane
from activities.messages.messages import MessageActivities
from activities.messages.twilio import TwilioActivities
from activities.monitoring.watch import WatchActivities
from activities.parking.decisions import DecisionActivities
from activities.parking.visibility import Visibility
from activities.payments.payments import PaymentActivities
from activities.payments.stripe import StripeActivities
from activities.payments.stripe_checkout import StripeCheckout
from activities.payments.stripe_customers import StripeCustomers
from activities.payments.stripe_saved_cards import SavedCards
from activities.recharges.recharges import RechargeActivities
from activities.recharges.stripe_cards import ChargeActivities
from activities.recharges.stripe_pages import PageActivities
from activities.reconciliation.runs import ReconciliationActivities
from activities.reconciliation.stripe import StripeReconciliation
from activities.reconciliation.vapi import VapiReconciliation
from activities.temporal.refusal_interceptor import RefusalInterceptor
from billing.platform_rules import PlatformRules
from environment import WrongSetting
from settings import WorkerSettings, one_sentence, platform_rules, warn_of_secrets
from store.database import migrate, roles, session
from store.database.errors import DATABASE_GONE, Unusable
from wiring import Clients, connect_temporal, metrics_runtime, open_clients, set_up_logging
from workflows.adjust import Adjust
from workflows.audit_ledger import AuditLedger
from workflows.auto_recharge import AutoRecharge
from workflows.bill_call import BillCall
from workflows.bill_message import BillMessage
from workflows.checkout import Checkout
from workflows.collect import Collect
from workflows.decide_parked import DecideParked
from workflows.deliver_alerts import DeliverAlerts
from workflows.drain_inbox import DrainInbox
from workflows.drain_messages import DrainMessages
from workflows.find_payment import FindPayment
from workflows.prune_inbox import PruneInbox
from workflows.reconcile_stripe import ReconcileStripe
from workflows.reconcile_vapi import ReconcileVapi
from workflows.settle_payment import SettlePayment
from workflows.shared.options import BILLING_QUEUE, PROVIDERS_QUEUE
from workflows.sweep_waiting import SweepWaiting
from workflows.watch_billing import WatchBilling

WORKFLOWS = (
    AuditLedger,
    Adjust,
    AutoRecharge,
    BillCall,
    BillMessage,
    Checkout,
    Collect,
    DecideParked,
    DeliverAlerts,
    DrainInbox,
    DrainMessages,
    FindPayment,
    PruneInbox,
    ReconcileStripe,
    ReconcileVapi,
    SettlePayment,
    SweepWaiting,
    WatchBilling,
)
PASSED_THROUGH = ("activities", "billing", "workflows.reconciliation", "workflows.shared")
# A sandboxed workflow takes about 0.2 MB. Without a limit, thousands of parked ones would add up.
MOST_CACHED_WORKFLOWS = 500
_GRACE = timedelta(seconds=15)
log = structlog.get_logger()


def build_workers(
    temporal: Client,
    clients: Clients,
    rules: PlatformRules,
    queues: tuple[str, ...] = (BILLING_QUEUE, PROVIDERS_QUEUE),
) -> list[Worker]:
    """Make a worker a task queue: one for workflows and PostgreSQL, one for the providers."""
    builders = {BILLING_QUEUE: _billing_worker, PROVIDERS_QUEUE: _providers_worker}
    return [builders[queue](temporal, clients, rules) for queue in queues]


def _billing_worker(temporal: Client, clients: Clients, rules: PlatformRules) -> Worker:
    calls = CallActivities(clients.engine)
    payments = PaymentActivities(clients.engine, rules)
    collecting = CollectionActivities(clients.engine, rules)
    messages = MessageActivities(clients.engine, rules)
    runs = ReconciliationActivities(clients.engine)
    recharges = RechargeActivities(clients.engine, rules)
    adjustments = AdjustmentActivities(clients.engine, rules)
    visibility = Visibility(temporal)
    watch = WatchActivities(clients.engine, visibility, rules)
    retention = RetentionActivities(clients.engine, rules)
    return Worker(
        temporal,
        task_queue=BILLING_QUEUE,
        workflows=WORKFLOWS,
        activities=[
            adjustments.open_adjustment,
            adjustments.settle_adjustment,
            calls.bill_call,
            calls.discard_call,
            collecting.collect,
            SweepActivities(clients.engine, visibility).find_waiting,
            messages.bill_message,
            messages.discard_message,
            payments.discard_payment,
            payments.note_payment,
            payments.settle_payment,
            payments.take_over,
            AuditActivities(clients.engine, rules, visibility).audit_ledger,
            DecisionActivities(clients.engine).record_decisions,
            InboxActivities(clients.engine).drain,
            recharges.plan_recharge,
            recharges.record_link,
            recharges.record_recharge,
            recharges.record_refusal,
            retention.empty_bodies,
            retention.forget_keys,
            runs.open_run,
            runs.next_findings,
            runs.review,
            runs.set_back,
            runs.close_run,
            runs.watch_schedules,
            watch.can_look,
            watch.look,
            watch.tell_it_is_over,
            visibility.count_parked,
            visibility.name_parked,
        ],
        interceptors=[RefusalInterceptor()],
        workflow_runner=sandbox(),
        max_concurrent_activities=20,
        max_cached_workflows=MOST_CACHED_WORKFLOWS,
        graceful_shutdown_timeout=_GRACE,
    )


def _providers_worker(temporal: Client, clients: Clients, rules: PlatformRules) -> Worker:
    outbox = AlertActivities(clients.engine, clients.slack)
    cards = ChargeActivities(clients.engine, clients.stripe)
    pages = PageActivities(clients.stripe)
    checkout = StripeCheckout(clients.stripe)
    lane = MessageLane(clients.engine, clients.twilio, rules)
    payments = StripeActivities(clients.stripe)
    return Worker(
        temporal,
        task_queue=PROVIDERS_QUEUE,
        activities=[
            outbox.deliver,
            outbox.tell_now,
            payments.fetch_payment,
            payments.find_payment,
            pages.ask_customer,
            cards.charge_card,
            SavedCards(clients.engine, clients.stripe).find_card,
            pages.give_up_charge,
            pages.look_at_page,
            cards.look_up_charge,
            StripeCustomers(clients.engine, clients.stripe).customer_of,
            checkout.open_session,
            checkout.read_session,
            StripeReconciliation(clients.engine, clients.stripe, rules).compare_payments,
            TwilioActivities(clients.engine, clients.twilio).fetch_message,
            lane.drain_messages,
            VapiActivities(clients.vapi).fetch_call,
            VapiReconciliation(clients.engine, clients.vapi).compare_calls,
        ],
        interceptors=[RefusalInterceptor()],
        max_concurrent_activities=20,
        graceful_shutdown_timeout=_GRACE,
    )


def sandbox() -> SandboxedWorkflowRunner:
    """Return the sandbox. It loads a process's own module anew for each run.

    The sandbox compiles whatever it loads, every time. So the modules of PASSED_THROUGH are shared
    between runs; ruff holds them to the same rules.
    """
    return SandboxedWorkflowRunner(
        restrictions=SandboxRestrictions.default.with_passthrough_modules(*PASSED_THROUGH)
    )


async def main(*named: str) -> None:
    """Serve the task queues that are named, or both, until SIGINT or SIGTERM.

    What is under way then gets a few seconds to finish.
    """
    if unknown := set(named) - {BILLING_QUEUE, PROVIDERS_QUEUE}:
        raise WrongSetting(f"there is no task queue {', '.join(sorted(unknown))}")
    queues = named or (BILLING_QUEUE, PROVIDERS_QUEUE)
    settings = WorkerSettings()
    set_up_logging(settings)
    warn_of_secrets(settings)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_clients(settings, "worker") as clients:
        await _require_usable(clients.engine)
        temporal = await connect_temporal(settings, runtime=metrics_runtime(settings))
        workers = build_workers(temporal, clients, platform_rules(settings), queues)
        running = [asyncio.create_task(worker.run()) for worker in workers]
        log.info("worker is running", queues=queues, namespace=settings.temporal_namespace)
        await asyncio.wait(
            [asyncio.create_task(stop.wait()), *running], return_when=asyncio.FIRST_COMPLETED
        )
        await asyncio.gather(*(worker.shutdown() for worker in workers))
        await asyncio.gather(*running)


async def _require_usable(engine: AsyncEngine) -> None:
    """Wait for the database; exit if this code knows neither its server nor its schema."""
    while True:
        try:
            async with engine.connect() as connection:
                await migrate.require_current(connection)
                await roles.warn(connection)
                return await session.warn(connection)
        except DATABASE_GONE as away:
            log.warning("waiting for the database", error=type(away).__name__)
            await asyncio.sleep(1)
        except Unusable as unusable:
            logs.end(unusable)


if __name__ == "__main__":
    with one_sentence(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(*sys.argv[1:]))
