"""What waits in the database for a process to go on with it."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.calls.call import CallState
from billing.messages.message import MessageState
from billing.recharges.attempt import UNDER_WAY

# What a drain hands over has its process within a minute or so, and a list of processes is late.
_PATIENCE = "1 hour"
# Each with the id of its process, as `call_workflow_id` and its siblings make it.
_WAITING = f"""
    SELECT 'call/' || call_id AS workflow_id, org_id, state
    FROM calls WHERE state = ANY(:calls) AND updated_at < now() - interval '{_PATIENCE}'
    UNION ALL
    SELECT 'sms/' || sid, org_id, state
    FROM messages WHERE state = ANY(:messages) AND updated_at < now() - interval '{_PATIENCE}'
    UNION ALL
    SELECT 'adjustment/' || adjustment_id, org_id, state
    FROM adjustments WHERE state = 'pending' AND requested_at < now() - interval '{_PATIENCE}'
    UNION ALL
    SELECT 'recharge/' || org_id, org_id, state
    FROM recharge_attempts
    WHERE state = ANY(:recharges) AND written_at < now() - interval '{_PATIENCE}'"""  # noqa: S608
_PAGE = text(
    f"SELECT * FROM ({_WAITING}) AS waiting WHERE workflow_id > :after"  # noqa: S608
    " ORDER BY workflow_id LIMIT :limit"
)
_STILL = text(
    f"SELECT workflow_id FROM ({_WAITING}) AS waiting WHERE workflow_id = ANY(:ids)"  # noqa: S608
)
_STATES = {
    "calls": [one for one in CallState if one.waits],
    "messages": [one for one in MessageState if one.waits],
    "recharges": sorted(UNDER_WAY),
}


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something that has waited for an hour or longer, and the process that should see to it."""

    workflow_id: str
    org_id: str | None
    state: str


async def page(connection: AsyncConnection, after: str, limit: int) -> list[Waiting]:
    """List what waits, by the ids of the processes, from the one after `after`."""
    found = await connection.execute(_PAGE, {**_STATES, "after": after, "limit": limit})
    return [Waiting(row.workflow_id, row.org_id, row.state) for row in found]


async def still(connection: AsyncConnection, workflow_ids: Collection[str]) -> set[str]:
    """Return those of these for which something waits even now."""
    found = await connection.execute(_STILL, {**_STATES, "ids": list(workflow_ids)})
    return {row.workflow_id for row in found}
