"""Which ends make calls free, and since when: kept, so that no change is about what was before."""

from pydantic import TypeAdapter
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.calls.ended_reason import FreeEnding, FreeRule
from store.schema import free_call_rules as table

RULES = TypeAdapter(tuple[FreeRule, ...])
# All of them as one value, for a statement that reads something else; NULL without any.
ALL = (
    select(
        func.jsonb_agg(
            func.jsonb_build_object(
                "ending", table.c.ending, "since", table.c.since, "until", table.c.until
            )
        )
    )
    .scalar_subquery()
    .label("free_call_rules")
)


async def read(connection: AsyncConnection) -> tuple[FreeRule, ...]:
    """Read the rules of all times."""
    return RULES.validate_python(await connection.scalar(select(ALL)) or ())


async def put(connection: AsyncConnection, ending: FreeEnding, *, in_force: bool) -> None:
    """Let calls that begin from now on be free if they end so, or no longer.

    The same again changes nothing. A rule ends no earlier than a microsecond after it began.
    """
    if in_force:
        new = insert(table).values(ending=ending).on_conflict_do_nothing()
        await connection.execute(new.inline())
        return
    soonest = table.c.since + func.make_interval(0, 0, 0, 0, 0, 0, 0.000001)
    await connection.execute(
        update(table)
        .where(table.c.ending == ending, table.c.until.is_(None))
        .values(until=func.greatest(func.now(), soonest))
    )
