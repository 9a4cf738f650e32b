"""Start and signal processes from the API."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError

from api.problems import TEMPORAL_GONE, TemporalUnavailable
from billing.adjustment import Adjustment, Proposal, Verdict, Word
from billing.call import Collection, EndedCall
from billing.errors import BillingError, InvalidWindow, SameOperator
from billing.message import SeenMessage
from billing.reconciliation import Reconciliation, Report, Run
from billing.webhook import PaymentHint, Source
from workflows import adjust as adjusting
from workflows import bill_call, bill_message, collect, reconciling, settle_payment
from workflows.adjust import Adjust
from workflows.bill_call import BillCall
from workflows.bill_message import BillMessage
from workflows.collect import Collect
from workflows.options import BILLING_QUEUE
from workflows.reconcile_stripe import ReconcileStripe
from workflows.reconcile_vapi import ReconcileVapi
from workflows.settle_payment import SettlePayment

# A worker polls at least once a minute; one that has not for longer is gone.
POLLER_IS_GONE_SECONDS = 90.0
ANSWER_SECONDS = 10.0
Answer = TypeVar("Answer")
_UPDATES = {Verdict.APPROVED: "approve", Verdict.REJECTED: "reject"}
_REFUSALS: Mapping[str, type[BillingError]] = {
    refusal.code: refusal for refusal in (InvalidWindow, SameOperator)
}
_RECONCILIATIONS: Mapping[Source, Callable[[Any, Reconciliation], Awaitable[Report | None]]] = {
    Source.VAPI: ReconcileVapi.run,
    Source.STRIPE: ReconcileStripe.run,
}


async def bill(temporal: Client, call: EndedCall) -> bool:
    """Start the process of a call; False when it has (had) one."""
    try:
        await temporal.start_workflow(BillCall.run, call, **bill_call.start_options(call))
    except WorkflowAlreadyStartedError:
        return False
    return True


async def hear_of_message(temporal: Client, seen: SeenMessage) -> bool:
    """Have a status taken into account by the process of its message, whether it runs or not."""
    await temporal.start_workflow(
        BillMessage.run,
        seen,
        start_signal="news",
        start_signal_args=[seen],
        **bill_message.start_options(seen.sid),
    )
    return True


async def look_at_payment(temporal: Client, hint: PaymentHint) -> bool:
    """Have a payment looked at after this moment, whether its process runs or not."""
    await temporal.start_workflow(
        SettlePayment.run,
        hint,
        start_signal="look_again",
        start_signal_args=[hint],
        **settle_payment.start_options(hint.payment_id),
    )
    return True


async def collect_waiting(temporal: Client, org_id: str, why: str) -> None:
    """Have the calls that wait for an organisation looked at after this moment.

    Raises TemporalUnavailable; the same request again tells it again.
    """
    try:
        await temporal.start_workflow(
            Collect.run,
            Collection(org_id),
            start_signal="again",
            start_signal_args=[why],
            **collect.start_options(org_id),
        )
    except TEMPORAL_GONE as gone:
        raise TemporalUnavailable(
            f"{why}, but Temporal does not answer; send the same again to have it act on that"
        ) from gone


async def reconcile(temporal: Client, wanted: Reconciliation) -> Run:
    """Start a reconciliation, or join the same one that runs; answers when its window is decided.

    Raises InvalidWindow and TemporalUnavailable.
    """
    start = WithStartWorkflowOperation(
        _RECONCILIATIONS[wanted.source],
        wanted,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        **reconciling.start_options(wanted),
    )
    return await _asked(temporal, start, "opened", Run, otherwise="no reconciliation was started")


async def adjust(temporal: Client, proposal: Proposal) -> Adjustment:
    """Have an adjustment made; answers when it is posted, or waits for a second operator.

    Raises TemporalUnavailable.
    """
    return await _asked(
        temporal, _adjusting(proposal), "opened", Adjustment, otherwise="nothing was adjusted"
    )


async def decide(temporal: Client, proposal: Proposal, verdict: Verdict, word: Word) -> Adjustment:
    """Decide about an adjustment; answers with what became of it.

    One whose process was lost gets another. Raises SameOperator and TemporalUnavailable.
    """
    return await _asked(
        temporal,
        _adjusting(proposal),
        _UPDATES[verdict],
        Adjustment,
        word,
        otherwise="nothing was decided",
    )


async def worker_polls(temporal: Client) -> bool:
    """Whether a worker has asked for work lately."""
    described = await temporal.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=temporal.namespace,
            task_queue=TaskQueue(name=BILLING_QUEUE),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
    )
    recent = time.time() - POLLER_IS_GONE_SECONDS
    return any(poller.last_access_time.seconds > recent for poller in described.pollers)


def _adjusting(proposal: Proposal) -> WithStartWorkflowOperation[Adjust, Adjustment]:
    return WithStartWorkflowOperation(
        Adjust.run,
        proposal,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        **adjusting.start_options(proposal),
    )


async def _asked(
    temporal: Client,
    start: WithStartWorkflowOperation[Any, Any],
    update: str,
    answer: type[Answer],
    *said: object,
    otherwise: str,
) -> Answer:
    """Start a process or join the one that runs, tell it something, and have its answer.

    Raises the process's refusal, and TemporalUnavailable when nothing answers within 10 s: without
    a worker nothing is started. By name: the SDK's types lose what an async update with a
    description answers.
    """
    try:
        await _require_worker(temporal, otherwise)
        async with asyncio.timeout(ANSWER_SECONDS):
            answered: Answer = await temporal.execute_update_with_start_workflow(
                update, args=said, result_type=answer, start_workflow_operation=start
            )
            return answered
    except WorkflowUpdateFailedError as failed:
        raise _refusal(failed) from failed
    except WorkflowUpdateRPCTimeoutOrCancelledError as late:
        require_patience(late)
        raise TemporalUnavailable(
            f"no worker has answered within {ANSWER_SECONDS:.0f} s, and it may be done yet;"
            " send the same again: it joins the one that runs"
        ) from late
    except TEMPORAL_GONE as gone:
        raise TemporalUnavailable(
            f"Temporal does not answer, so {otherwise}; send the same again when it is back"
        ) from gone


def require_patience(late: Exception) -> None:
    """Stop if it is the caller who waits no longer: the SDK takes that for a time-out.

    Raises CancelledError.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from late


async def _require_worker(temporal: Client, otherwise: str) -> None:
    if not await worker_polls(temporal):
        raise TemporalUnavailable(
            f"no worker is running, so {otherwise}; start one (`python -m worker`), then send the"
            " same again"
        )


def _refusal(failed: WorkflowUpdateFailedError) -> Exception:
    """Read the refusal out of a failed update; whatever else failed is a defect."""
    cause = failed.cause
    if not isinstance(cause, ApplicationError):
        return failed
    refusal = _REFUSALS.get(cause.type or "")
    return refusal(cause.message) if refusal else failed
