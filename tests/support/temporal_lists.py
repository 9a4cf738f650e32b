"""Wait for Temporal's lists, which lag behind by a moment."""

from temporalio.client import Client

from activities.parking.visibility import Visibility
from billing.parking.parked_work import ParkedFilter
from tests.support.eventually import eventually


async def until_listed(temporal: Client, org_id: str, count: int) -> None:
    """Wait until so many of an organisation's processes are listed as parked."""

    async def are_listed() -> bool:
        return await Visibility(temporal).count(ParkedFilter(org_id)) == count

    await eventually(are_listed)
