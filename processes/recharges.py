"""Ask an organisation's recharge process to look for a card, or to look at the wallet again."""

from temporalio.client import Client, WithStartWorkflowOperation, WorkflowUpdateFailedError
from temporalio.common import WorkflowIDConflictPolicy

from billing.errors import NoSavedCard
from processes.errors import TemporalUnavailable
from processes.request import answer_of, signal_reaches
from workflows.auto_recharge import AutoRecharge
from workflows.shared import recharge_requests


async def require_card(temporal: Client, org_id: str) -> None:
    """Look for a saved card at Stripe, by a worker; change nothing.

    Raise NoSavedCard. Raise TemporalUnavailable if there is no answer within 10 s.
    """
    try:
        await answer_of(
            temporal,
            lambda: _ask(temporal, org_id),
            otherwise="no card was looked for, and nothing was changed",
            refusals=(NoSavedCard,),
            late="Stripe or the worker has not said in time whether there is a card; nothing was"
            " changed",
        )
    except WorkflowUpdateFailedError as failed:
        raise TemporalUnavailable(
            "Stripe does not say whether there is a card; nothing was changed"
        ) from failed


async def look_again(temporal: Client, org_id: str, why: str) -> None:
    """Make the recharge process act on what was changed; start it if it does not run.

    Raise TemporalUnavailable.
    """
    with signal_reaches(why):
        await temporal.start_workflow(
            AutoRecharge.run,
            org_id,
            start_signal=recharge_requests.CHANGED,
            start_signal_args=[why],
            **recharge_requests.start_options(org_id),
        )


async def _ask(temporal: Client, org_id: str) -> None:
    start = WithStartWorkflowOperation(
        AutoRecharge.run,
        org_id,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        **recharge_requests.start_options(org_id),
    )
    # By name: the SDK's types lose the result of an async update that has a description.
    await temporal.execute_update_with_start_workflow(
        "require_card", org_id, start_workflow_operation=start
    )
