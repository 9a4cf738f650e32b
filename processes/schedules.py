"""The schedules. Operators pause, trigger and backfill them in the Temporal UI."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleCalendarSpec,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)

from activities.temporal.search_attributes import RUNNING
from billing.inbox.webhook_event import Source
from billing.reconciliation.reconciliation import Reconciliation, Report
from workflows.audit_ledger import AuditLedger
from workflows.prune_inbox import PruneInbox
from workflows.reconcile_stripe import ReconcileStripe
from workflows.reconcile_vapi import ReconcileVapi
from workflows.shared.options import BILLING_QUEUE
from workflows.sweep_waiting import SweepWaiting
from workflows.watch_billing import WatchBilling

# After an outage of days a missed run happens at once. One is enough, however many were missed.
_POLICY = SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=timedelta(days=7))
# For what happens often: a missed run is not made up for, since the next one does its work.
_OFTEN = SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=timedelta(minutes=1))
# For a run that lasts until the next is due. The next waits for it, and begins when it ends.
_WITHOUT_A_GAP = SchedulePolicy(
    overlap=ScheduleOverlapPolicy.BUFFER_ONE, catchup_window=timedelta(minutes=1)
)
AUDIT_EVERY = timedelta(hours=1)
WATCH_EVERY = timedelta(minutes=10)


def schedules() -> Mapping[str, Schedule]:
    """Return all schedules by id; their times are UTC."""
    return {
        "reconcile-vapi": _daily(ReconcileVapi.run, Source.VAPI, minute=0),
        "reconcile-stripe": _daily(ReconcileStripe.run, Source.STRIPE, minute=15),
        "audit-ledger": Schedule(
            action=ScheduleActionStartWorkflow(
                AuditLedger.run,
                id="audit-ledger",
                task_queue=BILLING_QUEUE,
                static_summary="Does everything in the ledger agree with everything else?",
            ),
            spec=ScheduleSpec(
                intervals=[ScheduleIntervalSpec(every=AUDIT_EVERY, offset=timedelta(minutes=40))]
            ),
            policy=_OFTEN,
        ),
        "watch-billing": Schedule(
            action=ScheduleActionStartWorkflow(
                WatchBilling.run,
                id="watch-billing",
                task_queue=BILLING_QUEUE,
                static_summary="Look every minute whether what should happen does happen",
            ),
            spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=WATCH_EVERY)]),
            policy=_WITHOUT_A_GAP,
        ),
        "prune-inbox": Schedule(
            action=ScheduleActionStartWorkflow(
                PruneInbox.run,
                id="prune-inbox",
                task_queue=BILLING_QUEUE,
                static_summary="Remove old bodies of webhooks, and answers nobody asks for again",
            ),
            spec=ScheduleSpec(calendars=[_at(4, 30)]),
            policy=_POLICY,
        ),
        "sweep-waiting": Schedule(
            action=ScheduleActionStartWorkflow(
                SweepWaiting.run,
                id="sweep-waiting",
                task_queue=BILLING_QUEUE,
                static_summary="Find what still waits though its reason, or its process, has gone",
            ),
            spec=ScheduleSpec(calendars=[_at(5, 0)]),
            policy=_POLICY,
        ),
    }


async def set_up(client: Client) -> None:
    """Create or update the schedules; keep an operator's pause and note."""
    for schedule_id, schedule in schedules().items():
        try:
            await client.create_schedule(schedule_id, schedule)
        except ScheduleAlreadyRunningError:
            await client.get_schedule_handle(schedule_id).update(_keeping_state(schedule))


def _keeping_state(wanted: Schedule) -> Callable[[ScheduleUpdateInput], ScheduleUpdate]:
    def updated(found: ScheduleUpdateInput) -> ScheduleUpdate:
        wanted.state = found.description.schedule.state
        return ScheduleUpdate(schedule=wanted)

    return updated


def _daily(
    run: Callable[[Any, Reconciliation], Awaitable[Report | None]], source: Source, minute: int
) -> Schedule:
    """Reconcile at three in the morning (UTC), everything since the last success."""
    action = ScheduleActionStartWorkflow(
        run,
        Reconciliation(source),
        id=f"reconcile-{source}",
        task_queue=BILLING_QUEUE,
        typed_search_attributes=RUNNING,
        static_summary=f"Reconcile with {source.capitalize()}: everything since the last success",
    )
    return Schedule(action=action, spec=ScheduleSpec(calendars=[_at(3, minute)]), policy=_POLICY)


def _at(hour: int, minute: int) -> ScheduleCalendarSpec:
    return ScheduleCalendarSpec(hour=[ScheduleRange(hour)], minute=[ScheduleRange(minute)])
