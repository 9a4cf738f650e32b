"""Which organisation a message belongs to: by the number or the Messaging Service that sent it."""

from collections.abc import Iterable

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.message import Message
from billing.organization import SENDERS
from store.schema import agents


async def owners(connection: AsyncConnection, messages: Iterable[Message]) -> dict[str, str]:
    """Find the organisation of each message, by its number and then by its Messaging Service.

    Maps message ids to organisation ids; a message of nobody's is left out.
    """
    sent = {one.sid: (one.facts.sender, one.facts.service_sid) for one in messages if one.facts}
    ids = {agent_id for by in sent.values() for agent_id in by if agent_id is not None}
    query = select(agents.c.agent_id, agents.c.org_id).where(
        agents.c.agent_id == func.any(sorted(ids)), agents.c.kind == func.any(list(SENDERS))
    )
    known = {row.agent_id: row.org_id for row in await connection.execute(query)} if ids else {}
    found = (
        (sid, known.get(sender or "") or known.get(service or ""))
        for sid, (sender, service) in sent.items()
    )
    return {sid: org_id for sid, org_id in found if org_id is not None}
