"""Charge what waited for a tariff, once one was added."""

from collections import defaultdict
from collections.abc import Iterable

from temporalio.client import Client
from temporalio.exceptions import WorkflowAlreadyStartedError

from billing.collection import CollectionRequest
from processes.request import signal_reaches
from workflows.collect import Collect
from workflows.shared import collection_requests

# A workflow's input would hold more. The same request, sent again, signals the rest.
MOST_TOLD = 5_000


async def tell_waiting(temporal: Client, tariff_id: str, waiting: Iterable[tuple[str, str]]) -> int:
    """Make processes try again, given as pairs of organisation and workflow id.

    Return how many. Raise TemporalUnavailable; the same request may be sent again.
    """
    by_organization = defaultdict[str, list[str]](list)
    for org_id, workflow_id in waiting:
        by_organization[org_id].append(workflow_id)
    with signal_reaches(f"{tariff_id} was added"):
        for org_id, workflow_ids in by_organization.items():
            await _collect(temporal, org_id, tariff_id, workflow_ids)
    return sum(map(len, by_organization.values()))


async def _collect(temporal: Client, org_id: str, tariff_id: str, workflow_ids: list[str]) -> None:
    """Start a collection that signals them, unless the one of this tariff still runs."""
    options = collection_requests.start_options(org_id)
    options["id"] = f"{options['id']}/{tariff_id}"
    told = CollectionRequest(org_id, untold_workflows=tuple(workflow_ids))
    try:
        await temporal.start_workflow(Collect.run, told, **options)
    except WorkflowAlreadyStartedError:
        return
