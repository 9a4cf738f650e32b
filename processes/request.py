"""Ask a process and have its answer: one way for all who ask from outside."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
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
from temporalio.exceptions import ApplicationError

from billing.errors import BillingError
from processes.errors import TEMPORAL_GONE, AnswerIsLate, TemporalUnavailable
from workflows.shared.options import BILLING_QUEUE

# A worker polls at least once a minute; one that has not for longer is gone.
POLLER_IS_GONE_SECONDS = 90.0
ANSWER_SECONDS = 10.0
_JOINED_AGAIN = (
    f"no worker has answered within {ANSWER_SECONDS:.0f} s, and it may be done yet;"
    " send the same again: it joins the one that runs"
)
Answer = TypeVar("Answer")


async def answer_of(
    temporal: Client,
    ask: Callable[[], Awaitable[Answer]],
    *,
    otherwise: str,
    refusals: tuple[type[BillingError], ...] = (),
    late: str = _JOINED_AGAIN,
) -> Answer:
    """Ask a process, and return what it answers within 10 s.

    `otherwise` says what was not done when Temporal or its worker is away, `late` what to do when
    the answer does not come in time. Raise the process's refusal if it is one of `refusals`,
    AnswerIsLate, TemporalUnavailable, and WorkflowUpdateFailedError for whatever else failed.
    """
    try:
        with temporal_answers(f"so {otherwise}; send the same again when it is back"):
            await require_worker(temporal, otherwise)
            async with asyncio.timeout(ANSWER_SECONDS):
                return await ask()
    except WorkflowUpdateFailedError as failed:
        raise _refusal(failed, refusals) from failed
    except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError) as timeout:
        require_patience(timeout)
        raise AnswerIsLate(late) from timeout


async def update_with_start(
    temporal: Client,
    start: WithStartWorkflowOperation[Any, Any],
    update: str,
    answer: type[Answer],
    *arguments: object,
) -> Answer:
    """Start a process or join the one that runs, and return what it answers to an update.

    By name: the SDK's types lose what an async update with a description answers.
    """
    answered: Answer = await temporal.execute_update_with_start_workflow(
        update, args=arguments, result_type=answer, start_workflow_operation=start
    )
    return answered


@contextmanager
def temporal_answers(otherwise: str) -> Iterator[None]:
    """Raise TemporalUnavailable if Temporal is away; `otherwise` says what follows from that."""
    try:
        yield
    except TEMPORAL_GONE as gone:
        require_patience(gone)
        raise TemporalUnavailable(f"Temporal does not answer, {otherwise}") from gone


@contextmanager
def signal_reaches(done: str) -> Iterator[None]:
    """Raise TemporalUnavailable if a process cannot be told of what was `done` already."""
    try:
        yield
    except TEMPORAL_GONE as gone:
        require_patience(gone)
        raise TemporalUnavailable(
            f"{done}, but Temporal does not answer; send the same again to have it act on that"
        ) from gone


async def worker_polls(temporal: Client) -> bool:
    """Return whether a worker has asked for work lately."""
    described = await temporal.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=temporal.namespace,
            task_queue=TaskQueue(name=BILLING_QUEUE),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
    )
    recent = time.time() - POLLER_IS_GONE_SECONDS
    return any(poller.last_access_time.seconds > recent for poller in described.pollers)


async def require_worker(temporal: Client, otherwise: str) -> None:
    """Raise TemporalUnavailable if no worker asks for work; `otherwise` says what was not done."""
    if not await worker_polls(temporal):
        raise TemporalUnavailable(
            f"no worker is running, so {otherwise}; start one (`python -m worker`), then send the"
            " same again"
        )


def require_patience(timeout: Exception) -> None:
    """Raise CancelledError if it is the caller who waits no longer.

    Temporal's SDK and drivers take a cancellation for a time-out or a broken connection. Whoever
    goes on after those would go on after Ctrl-C.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from timeout


def _refusal(
    failed: WorkflowUpdateFailedError, refusals: tuple[type[BillingError], ...]
) -> Exception:
    """Read the refusal out of a failed update; whatever else failed stays what it is."""
    cause = failed.cause
    if not isinstance(cause, ApplicationError):
        return failed
    refusal = next((one for one in refusals if one.code == cause.type), None)
    return failed if refusal is None else refusal(cause.message)
