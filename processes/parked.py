"""What is parked, asked of Temporal from outside; and what a person decides, told to it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from activities.parking.visibility import ParkedPage, Visibility, parked_work, token_of
from activities.temporal.search_attributes import BILLING_STATE, BillingState
from billing.calls.call import call_workflow_id
from billing.calls.length import StatedLength
from billing.errors import BillingError, Conflict, NotFound
from billing.parking.parked import Parked
from billing.parking.parked_work import (
    BulkDecision,
    BulkProgress,
    ParkedFilter,
    ParkedTotal,
    ParkedWork,
    Verdict,
)
from processes.request import ANSWER_SECONDS, answer_of, require_worker, temporal_answers
from workflows import decide_parked
from workflows.decide_parked import DecideParked
from workflows.shared.decision_answer import DecisionAnswer

_NOTHING_READ = "and nothing was read; ask again when it is back"
# Something else has happened to a process in the same moment: nothing was done, so tell it again.
_TOLD_AGAIN_SECONDS = 0.1
# What writes a decision down, of the work as it was found.
Note = Callable[[ParkedWork], Awaitable[None]]
# A type to the data converter, and none to mypy.
_EITHER_FORM: Any = DecisionAnswer | str


class NotParked(Conflict):
    """The process does not wait for anybody's decision."""

    code = "not_parked"
    title = "The process is not parked"


class InvalidCursor(BillingError):
    """The cursor is not one that a list has given out."""

    code = "invalid_cursor"
    title = "The cursor is not one of this list's"


async def list_parked(
    temporal: Client, which: ParkedFilter, limit: int, cursor: str | None
) -> ParkedPage:
    """List a page of parked work. Raise InvalidCursor and TemporalUnavailable."""
    try:
        token = token_of(cursor) if cursor else None
    except ValueError as error:
        raise InvalidCursor(str(error)) from error
    with temporal_answers(_NOTHING_READ):
        return await Visibility(temporal).parked(which, limit, token)


async def sum_up(temporal: Client, which: ParkedFilter) -> tuple[ParkedTotal, ...]:
    """Sum up parked work by reason; raise TemporalUnavailable."""
    with temporal_answers(_NOTHING_READ):
        return await Visibility(temporal).totals(which)


async def find(temporal: Client, workflow_id: str) -> ParkedWork | None:
    """Read one, as it is now; None if it is not parked. Raise NotFound, TemporalUnavailable."""
    with temporal_answers(_NOTHING_READ):
        try:
            found = await temporal.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            raise NotFound(f"there is no process {workflow_id}") from error
        state = found.typed_search_attributes.get(BILLING_STATE)
        is_open = found.status is WorkflowExecutionStatus.RUNNING
        return await parked_work(found) if is_open and state == BillingState.PARKED else None


async def decide(
    temporal: Client, workflow_id: str, verdict: Verdict, who_and_why: str, note: Note
) -> DecisionAnswer:
    """Tell a parked process what was decided; return what came of it.

    `note` writes it down before it is told. Raise NotFound, NotParked, and TemporalUnavailable when
    nothing answers in time.
    """
    return await _decide(temporal, workflow_id, verdict, who_and_why, note)


async def charge_length(
    temporal: Client, call_id: str, length: StatedLength, note: Note
) -> DecisionAnswer:
    """Have a parked call charged by a length that a person states; return what came of it.

    `note` writes it down before it is told. Raise NotFound, NotParked, and TemporalUnavailable when
    nothing answers in time.
    """
    return await _decide(temporal, call_workflow_id(call_id), "charge_length", length, note)


async def _decide(
    temporal: Client, workflow_id: str, update: str, argument: str | StatedLength, note: Note
) -> DecisionAnswer:
    work = await find(temporal, workflow_id)
    if work is None:
        raise NotParked(f"{workflow_id} is not parked")

    async def ask() -> DecisionAnswer:
        await note(work)
        return await _tell(temporal, workflow_id, update, argument)

    return await answer_of(
        temporal,
        ask,
        otherwise="nothing was decided",
        refusals=(NotParked,),
        late=f"it has not said within {ANSWER_SECONDS:.0f} s what came of it, and may have been"
        " told; see whether it is still parked",
    )


async def begin(temporal: Client, bulk: BulkDecision) -> BulkProgress:
    """Start a bulk decision, unless it has been; return how much it will be about."""
    with temporal_answers("so nothing was decided; send the same again when it is back"):
        try:
            options = decide_parked.start_options(bulk)
            await temporal.start_workflow(DecideParked.run, bulk, **options)
        except WorkflowAlreadyStartedError:
            return await follow(temporal, bulk.bulk_id)
        return BulkProgress(matched=await Visibility(temporal).count(bulk.about))


async def follow(temporal: Client, bulk_id: str) -> BulkProgress:
    """Return how far a bulk decision is. Raise NotFound and TemporalUnavailable."""
    handle = temporal.get_workflow_handle(decide_parked.workflow_id(bulk_id))
    with temporal_answers(_NOTHING_READ):
        try:
            await handle.describe()
            await require_worker(temporal, "nothing was read")
            return await handle.query(DecideParked.progress)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            raise NotFound(f"there is no bulk decision {bulk_id}") from error


async def _tell(
    temporal: Client, workflow_id: str, update: str, argument: str | StatedLength
) -> DecisionAnswer:
    """Send the update. By name: the SDK's types lose what an async one answers."""
    handle = temporal.get_workflow_handle(workflow_id)
    while True:
        try:
            answer: DecisionAnswer | str = await handle.execute_update(
                update, argument, result_type=_EITHER_FORM
            )
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise NotParked(f"{workflow_id} has ended in the meantime") from error
            if error.status is not RPCStatusCode.FAILED_PRECONDITION:
                raise
            await asyncio.sleep(_TOLD_AGAIN_SECONDS)
        else:
            return answer if isinstance(answer, DecisionAnswer) else read_sentence(answer)


def read_sentence(answer: str) -> DecisionAnswer:
    """Read the answer of a worker of version 0.1: `settled`, or `parked: fault: What happened.`

    While workers are replaced, or set back, whoever asks may be newer than the worker that answers.
    The other way round nothing can be done here: an API of version 0.1 cannot read a value, and
    says 500, although it was done as decided.
    """
    state, _, rest = answer.partition(": ")
    reason, _, happened = rest.partition(": ")
    return DecisionAnswer(BillingState(state), Parked(reason, happened) if reason else None)
