"""Which organisation an assistant, a phone number, or a sender of messages belongs to."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import and_, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.errors import Conflict, NotFound
from billing.organizations import ANSWERERS, Agent, AgentKind, Answerer, account_of
from store.database import additions
from store.database.additions import Addition
from store.database.pages import in_order
from store.schema import agents


async def register(
    connection: AsyncConnection,
    agent_id: str,
    kind: AgentKind,
    org_id: str,
    answerer: Answerer | None = None,
) -> Agent:
    """Register an assistant, a phone number or a sender; the same again gives what exists.

    `answerer` is what answers a number from now on, if it is given. Raise Conflict if the agent
    belongs to another organisation, where it must be removed first.
    """
    await additions.add(connection, Addition.REGISTRATION)
    new = insert(agents).values(
        agent_id=agent_id,
        kind=kind,
        org_id=org_id,
        answered_by=answerer and answerer.agent_id,
        answered_by_kind=answerer and answerer.kind,
    )
    # Of an agent that exists, only what answers it changes, and only if it is the same agent of the
    # same organisation. Anything else is left as it is, and found out below.
    await connection.execute(
        new.on_conflict_do_update(
            index_elements=["agent_id"],
            set_={
                "answered_by": new.excluded.answered_by,
                "answered_by_kind": new.excluded.answered_by_kind,
            },
            where=and_(
                agents.c.org_id == org_id,
                agents.c.kind == kind,
                new.excluded.answered_by.is_not(None),
            ),
        )
    )
    found = await connection.execute(select(agents).where(agents.c.agent_id == agent_id))
    agent = _agent(found.one())
    if (agent.org_id, agent.kind) != (org_id, kind):
        raise Conflict(f"{agent_id} is registered already, as a {agent.kind} or elsewhere")
    return agent


async def find_to_register(connection: AsyncConnection, agent_id: str) -> Agent | None:
    """Find what is registered under an id; nobody registers anything until the transaction ends."""
    await additions.add(connection, Addition.REGISTRATION)
    found = await connection.execute(select(agents).where(agents.c.agent_id == agent_id))
    row = found.one_or_none()
    return None if row is None else _agent(row)


async def remove(
    connection: AsyncConnection,
    agent_id: str,
    org_id: str,
    kinds: Collection[AgentKind] = ANSWERERS,
) -> Agent:
    """Remove an organisation's agent, and return it; raise NotFound.

    What was before now stays theirs.
    """
    gone = await connection.execute(
        delete(agents)
        .where(
            agents.c.agent_id == agent_id,
            agents.c.org_id == org_id,
            agents.c.kind == func.any(list(kinds)),
        )
        .returning(*agents.c)
    )
    row = gone.one_or_none()
    if row is None:
        raise NotFound(f"{org_id} has no agent {agent_id}")
    return _agent(row)


async def page(
    connection: AsyncConnection,
    org_id: str,
    after: str | None,
    limit: int,
    kinds: Collection[AgentKind] = ANSWERERS,
) -> list[Agent]:
    """List an organisation's agents of some kinds by id, from the one after `after`."""
    query = select(agents).where(agents.c.org_id == org_id, agents.c.kind == func.any(list(kinds)))
    query = in_order(query, agents.c.agent_id, after, limit)
    return [_agent(row) for row in await connection.execute(query)]


def _agent(row: Any) -> Agent:
    kind, known = row.answered_by_kind, AgentKind(row.kind)
    return Agent(
        agent_id=row.agent_id,
        kind=known,
        org_id=row.org_id,
        created_at=row.created_at,
        answered_by=row.answered_by,
        account_sid=account_of(row.agent_id, known),
        answered_by_kind=AgentKind(kind) if kind else None,
    )
