"""What is parked, asked of Temporal from the API; and what an operator decides, told to it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from activities.attributes import BILLING_STATE, BillingState
from activities.visibility import ParkedPage, Visibility, parked_work, token_of
from api import processes
from api.problems import TEMPORAL_GONE, TemporalUnavailable
from billing.errors import BillingError, Conflict, NotFound
from billing.parked import (
    BulkDecision,
    BulkProgress,
    ParkedFilter,
    ParkedTotal,
    ParkedWork,
    Verdict,
)
from workflows import decide_parked
from workflows.decide_parked import DecideParked

_NOTHING_READ = "Temporal does not answer; ask again when it is back"
# Something else has happened to a process in the same moment: nothing was done, so tell it again.
_TOLD_AGAIN_SECONDS = 0.1


class NotParked(Conflict):
    """The process does not wait for anybody's decision."""

    code = "not_parked"
    title = "The process is not parked"


class InvalidCursor(BillingError):
    """The cursor is not one that a list has given out."""

    code = "invalid_cursor"
    title = "The cursor is not one of this list's"


@contextmanager
def temporal_answers(otherwise: str = _NOTHING_READ) -> Iterator[None]:
    """Say that Temporal is away, if it is; raises TemporalUnavailable."""
    try:
        yield
    except TEMPORAL_GONE as gone:
        raise TemporalUnavailable(otherwise) from gone


async def list_parked(
    temporal: Client, which: ParkedFilter, limit: int, cursor: str | None
) -> ParkedPage:
    """List a page of parked work. Raises InvalidCursor and TemporalUnavailable."""
    try:
        token = token_of(cursor) if cursor else None
    except ValueError as error:
        raise InvalidCursor(str(error)) from error
    with temporal_answers():
        return await Visibility(temporal).parked(which, limit, token)


async def sum_up(temporal: Client, which: ParkedFilter) -> tuple[ParkedTotal, ...]:
    """Sum up parked work by reason; raises TemporalUnavailable."""
    with temporal_answers():
        return await Visibility(temporal).totals(which)


async def find(temporal: Client, workflow_id: str) -> ParkedWork | None:
    """Read one, as it is now; None if it is not parked. Raises NotFound, TemporalUnavailable."""
    with temporal_answers():
        try:
            found = await temporal.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            raise NotFound(f"there is no process {workflow_id}") from error
        state = found.typed_search_attributes.get(BILLING_STATE)
        is_open = found.status is WorkflowExecutionStatus.RUNNING
        return await parked_work(found) if is_open and state == BillingState.PARKED else None


async def decide(temporal: Client, workflow_id: str, verdict: Verdict, who_and_why: str) -> str:
    """Tell a parked process what was decided; answers with what came of it.

    Raises NotFound, NotParked, and TemporalUnavailable when nothing answers in time.
    """
    if await find(temporal, workflow_id) is None:
        raise NotParked(f"{workflow_id} is not parked")
    try:
        with temporal_answers("Temporal does not answer; see whether it is still parked"):
            await _require_worker(temporal)
            async with asyncio.timeout(processes.ANSWER_SECONDS):
                return await _tell(temporal, workflow_id, verdict, who_and_why)
    except WorkflowUpdateFailedError as failed:
        raise _refusal(failed) from failed
    except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError) as late:
        processes.require_patience(late)
        raise TemporalUnavailable(
            f"it has not said within {processes.ANSWER_SECONDS:.0f} s what came of it, and may have"
            " been told; see whether it is still parked"
        ) from late


async def begin(temporal: Client, bulk: BulkDecision) -> BulkProgress:
    """Start a bulk decision, unless it has been; answers with how much it will be about."""
    with temporal_answers("Temporal does not answer; send the same again when it is back"):
        try:
            options = decide_parked.start_options(bulk)
            await temporal.start_workflow(DecideParked.run, bulk, **options)
        except WorkflowAlreadyStartedError:
            return await follow(temporal, bulk.bulk_id)
        return BulkProgress(matched=await Visibility(temporal).count(bulk.about))


async def follow(temporal: Client, bulk_id: str) -> BulkProgress:
    """Say how far a bulk decision is. Raises NotFound and TemporalUnavailable."""
    handle = temporal.get_workflow_handle(decide_parked.workflow_id(bulk_id))
    with temporal_answers():
        try:
            await handle.describe()
            await _require_worker(temporal)
            return await handle.query(DecideParked.progress)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            raise NotFound(f"there is no bulk decision {bulk_id}") from error


async def _tell(temporal: Client, workflow_id: str, verdict: Verdict, who_and_why: str) -> str:
    """Send the update. By name: the SDK's types lose what an async one answers."""
    handle = temporal.get_workflow_handle(workflow_id)
    while True:
        try:
            answer: str = await handle.execute_update(verdict, who_and_why, result_type=str)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise NotParked(f"{workflow_id} has ended in the meantime") from error
            if error.status is not RPCStatusCode.FAILED_PRECONDITION:
                raise
            await asyncio.sleep(_TOLD_AGAIN_SECONDS)
        else:
            return answer


async def _require_worker(temporal: Client) -> None:
    if not await processes.worker_polls(temporal):
        raise TemporalUnavailable("no worker is running; start one (`python -m worker`)")


def _refusal(failed: WorkflowUpdateFailedError) -> Exception:
    """Read the refusal out of a failed update; whatever else failed is a defect."""
    cause = failed.cause
    if isinstance(cause, ApplicationError) and cause.type == NotParked.code:
        return NotParked(cause.message)
    return failed
