"""The worker: runs the workflows, and the activities on both task queues."""

import asyncio
import signal
import sys
from datetime import timedelta

import structlog
import uvloop
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.adjustments import AdjustmentActivities
from activities.alerts import AlertActivities
from activities.audit import AuditActivities
from activities.calls import CallActivities
from activities.collecting import Collecting
from activities.decisions import DecisionActivities
from activities.inbox import InboxActivities
from activities.message_inbox import MessageLane
from activities.messages import MessageActivities
from activities.payments import PaymentActivities
from activities.recharge import RechargeActivities
from activities.reconciliation import ReconciliationActivities
from activities.refusals import RefusalInterceptor
from activities.retention import RetentionActivities
from activities.stripe import StripeActivities
from activities.stripe_charges import ChargeActivities
from activities.stripe_checkout import StripeCheckout
from activities.stripe_customers import StripeCustomers
from activities.stripe_reconciliation import StripeReconciliation
from activities.twilio import TwilioActivities
from activities.vapi import VapiActivities
from activities.vapi_reconciliation import VapiReconciliation
from activities.visibility import Visibility
from activities.watch import WatchActivities
from store import migrate
from wiring import (
    Clients,
    Settings,
    connect_temporal,
    metrics_runtime,
    open_clients,
    set_up_logging,
)
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
from workflows.options import BILLING_QUEUE, PROVIDERS_QUEUE
from workflows.prune_inbox import PruneInbox
from workflows.reconcile_stripe import ReconcileStripe
from workflows.reconcile_vapi import ReconcileVapi
from workflows.settle_payment import SettlePayment
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
    PruneInbox,
    ReconcileStripe,
    ReconcileVapi,
    SettlePayment,
    WatchBilling,
)
PASSED_THROUGH = (
    "activities",
    "billing",
    "workflows.attributes",
    "workflows.options",
    "workflows.parking",
    "workflows.reach",
    "workflows.recharging",
    "workflows.reconciling",
)
# A sandboxed workflow takes about 0.2 MB: thousands that are parked must not add up.
MOST_CACHED_WORKFLOWS = 500
_GRACE = timedelta(seconds=15)
log = structlog.get_logger()


def build_workers(
    temporal: Client, clients: Clients, queues: tuple[str, ...] = (BILLING_QUEUE, PROVIDERS_QUEUE)
) -> list[Worker]:
    """Make a worker a task queue: one for workflows and PostgreSQL, one for the providers."""
    builders = {BILLING_QUEUE: _billing_worker, PROVIDERS_QUEUE: _providers_worker}
    return [builders[queue](temporal, clients) for queue in queues]


def _billing_worker(temporal: Client, clients: Clients) -> Worker:
    calls, payments = CallActivities(clients.engine), PaymentActivities(clients.engine)
    back = clients.reverse_undelivered
    collecting = Collecting(clients.engine, reverse_undelivered=back)
    messages = MessageActivities(clients.engine, reverse_undelivered=back)
    runs = ReconciliationActivities(clients.engine)
    recharges = RechargeActivities(clients.engine)
    adjustments = AdjustmentActivities(clients.engine)
    watch = WatchActivities(clients.engine, Visibility(temporal), clients.parked_money_alert_minor)
    visibility = Visibility(temporal)
    retention = RetentionActivities(clients.engine, clients.keep_bodies_days)
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
            messages.bill_message,
            messages.discard_message,
            payments.discard_payment,
            payments.settle_payment,
            payments.take_over,
            AuditActivities(clients.engine).audit_ledger,
            DecisionActivities(clients.engine).record_decisions,
            InboxActivities(clients.engine).drain,
            recharges.plan_recharge,
            recharges.record_link,
            recharges.record_recharge,
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


def _providers_worker(temporal: Client, clients: Clients) -> Worker:
    outbox = AlertActivities(clients.engine, clients.slack)
    cards = ChargeActivities(clients.engine, clients.stripe)
    checkout = StripeCheckout(clients.stripe)
    lane = MessageLane(
        clients.engine, clients.twilio, reverse_undelivered=clients.reverse_undelivered
    )
    return Worker(
        temporal,
        task_queue=PROVIDERS_QUEUE,
        activities=[
            outbox.deliver,
            outbox.tell_now,
            StripeActivities(clients.stripe).fetch_payment,
            cards.ask_customer,
            cards.charge_card,
            cards.find_card,
            cards.look_at_page,
            cards.look_up_charge,
            StripeCustomers(clients.engine, clients.stripe).customer_of,
            checkout.open_session,
            checkout.read_session,
            StripeReconciliation(clients.engine, clients.stripe).compare_payments,
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
    """Make the sandbox: a process's own module is loaded anew for each run, what it uses is not.

    The sandbox compiles what it loads, every time; ruff holds the modules that are passed through
    to the same rules.
    """
    return SandboxedWorkflowRunner(
        restrictions=SandboxRestrictions.default.with_passthrough_modules(*PASSED_THROUGH)
    )


async def main(*named: str) -> None:
    """Serve the task queues that are named, or both, until told to stop.

    What is under way then gets a few seconds to finish.
    """
    queues = named or (BILLING_QUEUE, PROVIDERS_QUEUE)
    settings = Settings()
    set_up_logging(settings)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_clients(settings, "worker") as clients:
        await _require_schema(clients.engine)
        temporal = await connect_temporal(settings, runtime=metrics_runtime(settings))
        workers = build_workers(temporal, clients, queues)
        running = [asyncio.create_task(worker.run()) for worker in workers]
        log.info("worker is running", queues=queues, namespace=settings.temporal_namespace)
        await asyncio.wait(
            [asyncio.create_task(stop.wait()), *running], return_when=asyncio.FIRST_COMPLETED
        )
        await asyncio.gather(*(worker.shutdown() for worker in workers))
        await asyncio.gather(*running)


async def _require_schema(engine: AsyncEngine) -> None:
    """Refuse a schema that this code does not know; wait for a database that is away."""
    while True:
        try:
            async with engine.connect() as connection:
                return await migrate.require_current(connection)
        except OperationalError as away:
            log.warning("waiting for the database", error=type(away).__name__)
            await asyncio.sleep(1)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(*sys.argv[1:]))
