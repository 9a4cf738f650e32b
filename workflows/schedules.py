"""What happens by the clock. Operators pause, trigger and backfill it in the Temporal UI."""

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

from activities.attributes import RUNNING
from billing.reconciliation import Reconciliation, Report
from billing.webhook import Source
from workflows.audit_ledger import AuditLedger
from workflows.options import BILLING_QUEUE
from workflows.prune_inbox import PruneInbox
from workflows.reconcile_stripe import ReconcileStripe
from workflows.reconcile_vapi import ReconcileVapi
from workflows.watch_billing import WatchBilling

# After an outage of days the missed run happens at once; one is enough, whatever it missed.
_POLICY = SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=timedelta(days=7))
# What happens often and was missed happens the next time.
_OFTEN = SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=timedelta(minutes=1))
# A run that looks for as long as until the next one: that begins when it ends.
_WITHOUT_A_GAP = SchedulePolicy(
    overlap=ScheduleOverlapPolicy.BUFFER_ONE, catchup_window=timedelta(minutes=1)
)
AUDIT_EVERY = timedelta(hours=1)
WATCH_EVERY = timedelta(minutes=10)


def schedules() -> Mapping[str, Schedule]:
    """Say what happens when, in UTC."""
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
    }


async def set_up(client: Client) -> None:
    """Make the schedules what this code says; an operator's pause and note stay."""
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
    """At three in the morning, everything since the last success."""
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
