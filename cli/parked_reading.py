"""What is parked, out of Temporal, and what people have decided about it, out of PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowExecutionDescription
from temporalio.service import RPCError, RPCStatusCode

from activities.attributes import BILLING_STATE, BillingState
from activities.visibility import Visibility, parked_work
from billing.errors import NotFound
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
    process: str
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
    """List up to `limit`, and sum up all. Raises what means that Temporal is gone."""
    page = await Visibility(temporal).parked(which, limit)
    return Listed(page.items, await read_totals(temporal, which))


async def read_totals(temporal: Client, which: ParkedFilter) -> tuple[ParkedTotal, ...]:
    """Sum up what fits, by reason. Raises what means that Temporal is gone."""
    return await Visibility(temporal).totals(which)


async def read_one(temporal: Client, engine: AsyncEngine, workflow_id: str) -> Found:
    """Read everything about one. Raises NotFound, and what means that something is gone."""
    described = await _describe(temporal, workflow_id)
    async with engine.connect() as connection:
        newest = await decisions.page(connection, None, _MOST_DECISIONS, workflow_id=workflow_id)
    state = described.typed_search_attributes.get(BILLING_STATE) or "without a state"
    return Found(
        workflow_id,
        described.workflow_type,
        state,
        await parked_work(described) if state == BillingState.PARKED else None,
        tuple(reversed(newest)),
    )


async def _describe(temporal: Client, workflow_id: str) -> WorkflowExecutionDescription:
    try:
        return await temporal.get_workflow_handle(workflow_id).describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        raise NotFound(f"there is no process {workflow_id} ({error.message})") from error
