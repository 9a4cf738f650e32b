"""Ask for a collection: charge what waits for an organisation."""

from temporalio.client import Client

from billing.collection import CollectionRequest
from processes.request import signal_reaches
from workflows.collect import Collect
from workflows.shared import collection_requests


async def collect_waiting(temporal: Client, org_id: str, why: str) -> None:
    """Start the collection of an organisation, or make the one that runs look once more.

    Either way it reads what waits after this moment. Raise TemporalUnavailable; the same request
    may be sent again.
    """
    with signal_reaches(why):
        await temporal.start_workflow(
            Collect.run,
            CollectionRequest(org_id),
            start_signal="again",
            start_signal_args=[why],
            **collection_requests.start_options(org_id),
        )
