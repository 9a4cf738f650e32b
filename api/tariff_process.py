"""A tariff was added: have what waited for one charged."""

from collections import defaultdict
from collections.abc import Iterable

from temporalio.client import Client
from temporalio.exceptions import WorkflowAlreadyStartedError

from api.problems import TEMPORAL_GONE, TemporalUnavailable
from billing.call import Collection
from workflows import collect
from workflows.collect import Collect

# A workflow's input has room for more; the rest is told by the same request again.
MOST_TOLD = 5_000


async def tell_waiting(temporal: Client, tariff_id: str, waiting: Iterable[tuple[str, str]]) -> int:
    """Have processes try again, given as their organisation and id; answers how many.

    Raises TemporalUnavailable; the same request again tells them again.
    """
    by_organization = defaultdict[str, list[str]](list)
    for org_id, workflow_id in waiting:
        by_organization[org_id].append(workflow_id)
    try:
        for org_id, workflow_ids in by_organization.items():
            await _collect(temporal, org_id, tariff_id, workflow_ids)
    except TEMPORAL_GONE as gone:
        raise TemporalUnavailable(
            f"{tariff_id} was added, but Temporal does not answer; send the same again to have"
            " what waited for it charged"
        ) from gone
    return sum(map(len, by_organization.values()))


async def _collect(temporal: Client, org_id: str, tariff_id: str, workflow_ids: list[str]) -> None:
    """Let a collection of its own tell them, or leave it to the same one that still does."""
    options = collect.start_options(org_id)
    options["id"] = f"{options['id']}/{tariff_id}"
    told = Collection(org_id, untold_workflows=tuple(workflow_ids))
    try:
        await temporal.start_workflow(Collect.run, told, **options)
    except WorkflowAlreadyStartedError:
        return
