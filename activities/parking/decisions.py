"""What people have said about work that waits, written down before it is acted on."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from billing.parking.admin_log import heard_by, said_in_temporal
from billing.parking.parked_work import DecisionRecord
from store import admin_log, parking


@dataclass(frozen=True, slots=True)
class Said:
    """Everything that was said about a workflow and is not written down yet."""

    records: tuple[DecisionRecord, ...]


class DecisionActivities:
    """The decisions of people, in PostgreSQL."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @activity.defn
    async def record_decisions(self, said: Said) -> None:
        """Write down what was said; the same again changes nothing.

        What came neither by the API nor by the command stands in the book only by this.
        """
        async with self._engine.begin() as connection:
            for one in await parking.record(connection, said.records):
                if not await admin_log.is_known(connection, *heard_by(one)):
                    await admin_log.write(connection, said_in_temporal(one))
