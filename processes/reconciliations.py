"""Start a reconciliation, or join the same one that runs."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy

from billing.errors import InvalidWindow
from billing.inbox.webhook_event import Source
from billing.reconciliation.reconciliation import Reconciliation, Report, Run
from processes.request import answer_of, update_with_start
from workflows import reconciliation
from workflows.reconcile_stripe import ReconcileStripe
from workflows.reconcile_vapi import ReconcileVapi

_WORKFLOWS: Mapping[Source, Callable[[Any, Reconciliation], Awaitable[Report | None]]] = {
    Source.VAPI: ReconcileVapi.run,
    Source.STRIPE: ReconcileStripe.run,
}


async def reconcile(temporal: Client, wanted: Reconciliation) -> Run:
    """Start a reconciliation, or join the same one; return the run, with its window decided.

    Raise InvalidWindow and TemporalUnavailable.
    """

    async def ask() -> Run:
        start = WithStartWorkflowOperation(
            _WORKFLOWS[wanted.source],
            wanted,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            **reconciliation.start_options(wanted),
        )
        return await update_with_start(temporal, start, "opened", Run)

    return await answer_of(
        temporal, ask, otherwise="no reconciliation was started", refusals=(InvalidWindow,)
    )
