"""Lists lag behind by a moment: wait for them before anybody looks."""

from temporalio.client import Client

from activities.visibility import Visibility
from billing.parked import ParkedFilter
from tests.waiting import eventually


async def are_listed(temporal: Client, org_id: str, count: int) -> None:
    """Wait until so many of an organisation's processes are listed as parked."""

    async def are() -> bool:
        return await Visibility(temporal).count(ParkedFilter(org_id)) == count

    await eventually(are)
