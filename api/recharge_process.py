"""Auto-recharge from the API: is there a card, and look again, by the organisation's process."""

import asyncio

from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError

from api import processes
from api.problems import TEMPORAL_GONE, TemporalUnavailable
from billing.errors import NoSavedCard
from workflows import recharging
from workflows.auto_recharge import AutoRecharge


async def require_card(temporal: Client, org_id: str) -> None:
    """Have a worker look for a saved card at Stripe; nothing is changed by that.

    Raises NoSavedCard, and TemporalUnavailable when nothing answers within 10 s.
    """
    try:
        if not await processes.worker_polls(temporal):
            raise TemporalUnavailable("no worker is running that could look for a card")
        async with asyncio.timeout(processes.ANSWER_SECONDS):
            await _ask(temporal, org_id)
    except WorkflowUpdateFailedError as failed:
        raise _refusal(failed) from failed
    except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError) as late:
        raise TemporalUnavailable(
            "Stripe or the worker has not said in time whether there is a card; nothing was changed"
        ) from late
    except TEMPORAL_GONE as gone:
        raise TemporalUnavailable("Temporal does not answer; nothing was changed") from gone


async def look_again(temporal: Client, org_id: str, why: str) -> None:
    """Have what was changed acted on; raises TemporalUnavailable."""
    try:
        await temporal.start_workflow(
            AutoRecharge.run,
            org_id,
            start_signal=recharging.CHANGED,
            start_signal_args=[why],
            **recharging.start_options(org_id),
        )
    except TEMPORAL_GONE as gone:
        raise TemporalUnavailable(
            f"{why}, but Temporal does not answer; send the same again to have it act on that"
        ) from gone


async def _ask(temporal: Client, org_id: str) -> None:
    start = WithStartWorkflowOperation(
        AutoRecharge.run,
        org_id,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        **recharging.start_options(org_id),
    )
    # By name: the SDK's types lose what an async update with a description answers.
    await temporal.execute_update_with_start_workflow(
        "require_card", org_id, start_workflow_operation=start
    )


def _refusal(failed: WorkflowUpdateFailedError) -> Exception:
    """Read the refusal out of a failed update; anything else is that Stripe did not answer."""
    cause = failed.cause
    if isinstance(cause, ApplicationError) and cause.type == NoSavedCard.code:
        return NoSavedCard(cause.message)
    return TemporalUnavailable("Stripe does not say whether there is a card; nothing was changed")
