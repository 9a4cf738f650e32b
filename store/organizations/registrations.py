"""Whose something was when it took place, by what was registered then, or else afterwards.

All that holds at a moment or later ends after it. Of that, what begins first decides. What holds at
the moment counts as if it began then: of several, that of the first id decides, and whatever begins
later comes behind. So what nobody had is of the first who registered it afterwards.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    and_,
    case,
    exists,
    func,
    literal_column,
    or_,
    select,
    union_all,
)
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.organizations import AgentKind
from store.schema import registrations

_Column = ColumnElement[Any]
_EVER = "'infinity'::timestamptz"


def owner_at(
    moment: _Column, kinds: Iterable[AgentKind], *agent_ids: _Column
) -> ColumnElement[str]:
    """Return the owner of one thing that took place at that moment; NULL if it is nobody's."""
    table = registrations.alias("registered")
    place = case(*((table.c.agent_id == one, nth) for nth, one in enumerate(agent_ids)))
    return (
        select(table.c.org_id)
        .where(table.c.agent_id.in_(agent_ids), _may_decide(table, moment, kinds))
        .order_by(_begins(table, moment), place)
        .limit(1)
        .scalar_subquery()
    )


async def last_owner(connection: AsyncConnection, agent_id: str) -> str | None:
    """Return whose it was before it was removed; None of what was nobody's before."""
    query = (
        select(registrations.c.org_id)
        .where(registrations.c.agent_id == agent_id, registrations.c.until < literal_column(_EVER))
        .order_by(registrations.c.since.desc())
        .limit(1)
    )
    owner: str | None = await connection.scalar(query)
    return owner


def owners_of(
    given: FromClause, key: str, moment: str, kinds: Iterable[AgentKind], *agent_ids: str
) -> Select[tuple[str, str]]:
    """Return the query for the owners of many things, rows of `given`: their keys, and `org_id`.

    It is what `owner_at` finds of each. However many they are, the table is read once.
    """
    table = registrations.alias("registered")
    named = union_all(
        *(
            select(
                given.c[key],
                func.coalesce(given.c[moment], func.now()).label("moment"),
                given.c[one].label("agent_id"),
                literal_column(str(nth)).label("place"),
            )
            for nth, one in enumerate(agent_ids)
        )
    ).subquery("named")
    return (
        select(named.c[key], table.c.org_id)
        .join(table, table.c.agent_id == named.c.agent_id)
        .where(_may_decide(table, named.c.moment, kinds))
        .ext(distinct_on(named.c[key]))
        .order_by(named.c[key], _begins(table, named.c.moment), named.c.place)
    )


def was_given_to(
    org_id: str, moment: _Column, kinds: Iterable[AgentKind], *agent_ids: _Column
) -> ColumnElement[bool]:
    """Return the condition that `owner_at` finds this organisation.

    What it never had is not looked up: there may be much of that, and a set of ids is quickly read.
    Of calls that were registered themselves there may be millions: those are looked up one by one.
    """
    its, calls = registrations.c.org_id == org_id, registrations.c.kind == AgentKind.CALL
    its_own = select(registrations.c.agent_id).where(its, ~calls)
    is_named = exists().where(its, calls, registrations.c.agent_id.in_(agent_ids))
    return and_(
        or_(is_named, *(one.in_(its_own) for one in agent_ids)),
        owner_at(moment, kinds, *agent_ids) == org_id,
    )


def _may_decide(
    table: FromClause, moment: _Column, kinds: Iterable[AgentKind]
) -> ColumnElement[bool]:
    return and_(table.c.kind.in_(list(kinds)), table.c.until > moment)


def _begins(table: FromClause, moment: _Column) -> _Column:
    return func.greatest(table.c.since, moment)
