"""Which organisation a Vapi assistant or phone number belongs to."""

from collections.abc import Collection, Iterable
from datetime import datetime

from sqlalchemy import and_, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.call import EndedCall
from billing.errors import Conflict, NotFound
from billing.organization import ANSWERERS, Agent, AgentKind
from store.schema import agents


async def register(
    connection: AsyncConnection,
    agent_id: str,
    kind: AgentKind,
    org_id: str,
    answered_by: str | None = None,
) -> Agent:
    """Register an assistant or phone number; the same again gives what exists.

    `answered_by` is the assistant that answers a number from now on, if it is given. Raises
    Conflict when the agent belongs to another organisation: it must be removed there first.
    """
    new = insert(agents).values(
        agent_id=agent_id, kind=kind, org_id=org_id, answered_by=answered_by
    )
    await connection.execute(
        new.on_conflict_do_update(
            index_elements=["agent_id"],
            set_={"answered_by": new.excluded.answered_by},
            where=and_(
                agents.c.org_id == org_id,
                agents.c.kind == kind,
                new.excluded.answered_by.is_not(None),
            ),
        )
    )
    found = await connection.execute(select(agents).where(agents.c.agent_id == agent_id))
    agent = _agent(*found.one())
    if (agent.org_id, agent.kind) != (org_id, kind):
        raise Conflict(f"{agent_id} is registered already, as a {agent.kind} or elsewhere")
    return agent


async def remove(
    connection: AsyncConnection,
    agent_id: str,
    org_id: str,
    kinds: Collection[AgentKind] = ANSWERERS,
) -> None:
    """Forget an organisation's agent; raises NotFound. What was charged stays charged."""
    gone = await connection.execute(
        delete(agents).where(
            agents.c.agent_id == agent_id,
            agents.c.org_id == org_id,
            agents.c.kind == func.any(list(kinds)),
        )
    )
    if not gone.rowcount:
        raise NotFound(f"{org_id} has no agent {agent_id}")


async def page(
    connection: AsyncConnection,
    org_id: str,
    after: str | None,
    limit: int,
    kinds: Collection[AgentKind] = ANSWERERS,
) -> list[Agent]:
    """List an organisation's agents of some kinds by id, from the one after `after`."""
    query = (
        select(agents)
        .where(agents.c.org_id == org_id, agents.c.kind == func.any(list(kinds)))
        .order_by(agents.c.agent_id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(agents.c.agent_id > after)
    return [_agent(*row) for row in await connection.execute(query)]


async def owners(connection: AsyncConnection, calls: Iterable[EndedCall]) -> dict[str, str]:
    """Find the organisation of each call, by its assistant and then by its phone number.

    Maps call ids to organisation ids; a call of nobody's is left out. An organisation named in a
    webhook's body is never believed.
    """
    calls = list(calls)
    ids = {agent_id for call in calls for agent_id in (call.assistant_id, call.phone_number_id)}
    query = select(agents.c.agent_id, agents.c.org_id).where(
        agents.c.agent_id == func.any(sorted(ids - {None}, key=str))
    )
    known = {row.agent_id: row.org_id for row in await connection.execute(query)}
    found = (
        (call.call_id, known.get(call.assistant_id) or known.get(call.phone_number_id))
        for call in calls
    )
    return {call_id: org_id for call_id, org_id in found if org_id is not None}


def _agent(
    agent_id: str, kind: str, org_id: str, created_at: datetime, answered_by: str | None
) -> Agent:
    return Agent(agent_id, AgentKind(kind), org_id, created_at, answered_by)
