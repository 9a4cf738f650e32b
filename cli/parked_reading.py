"""What is parked, out of Temporal, and what people have decided about it, out of PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from activities.attributes import BILLING_STATE, BillingState
from api import parked_process
from billing.parked import DecisionRecord, ParkedFilter, ParkedTotal, ParkedWork
from store import decisions
from store import engine as store_engine
from wiring import Settings, connect_temporal

# Nobody decides more often about one process, and remembers it.
_MOST_DECISIONS = 100
_FAREWELL_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Listed:
    """Some of what is parked and fits, and the sums of all that does."""

    items: tuple[ParkedWork, ...]
    totals: tuple[ParkedTotal, ...]

    @property
    def count(self) -> int:
        """How much there is in all."""
        return sum(one.count for one in self.totals)


@dataclass(frozen=True, slots=True)
class Found:
    """One process: parked or not, and what people have decided about it, oldest first."""

    workflow_id: str
    state: str
    work: ParkedWork | None
    decisions: tuple[DecisionRecord, ...]


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[tuple[Client, AsyncEngine]]:
    """Open both; a Temporal that is away is found out by the first question."""
    engine = store_engine.connect(settings.database_url, application_name="callwallet parked")
    try:
        yield await connect_temporal(settings, lazy=True), engine
    finally:
        await engine.dispose()
        # A client that goes away in the same breath can crash the interpreter's exit.
        await asyncio.sleep(_FAREWELL_SECONDS)


async def read_list(temporal: Client, which: ParkedFilter, limit: int) -> Listed:
    """List up to `limit`, and sum up all. Raises TemporalUnavailable."""
    page = await parked_process.list_parked(temporal, which, limit, None)
    return Listed(page.items, await parked_process.sum_up(temporal, which))


async def read_one(temporal: Client, engine: AsyncEngine, workflow_id: str) -> Found:
    """Read everything about one.

    Raises NotFound, TemporalUnavailable, and what means that the database is gone.
    """
    work = await parked_process.find(temporal, workflow_id)
    state = BillingState.PARKED if work else await _state(temporal, workflow_id)
    async with engine.connect() as connection:
        newest = await decisions.page(connection, None, _MOST_DECISIONS, workflow_id=workflow_id)
    return Found(workflow_id, state, work, tuple(reversed(newest)))


async def _state(temporal: Client, workflow_id: str) -> str:
    """Say how one stands that is not parked: `settled (completed)`, `parked (terminated)`."""
    with parked_process.temporal_answers():
        found = await temporal.get_workflow_handle(workflow_id).describe()
    state = found.typed_search_attributes.get(BILLING_STATE) or found.workflow_type
    return f"{state} ({found.status.name.lower()})" if found.status else state
