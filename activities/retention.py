"""Remove on PostgreSQL what is not kept for ever, a batch a transaction."""

import asyncio
from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from billing.retention import KEEP_IDEMPOTENCY_KEYS_DAYS, Sweep
from store import retention

BATCH = 1000
# So many, and the process shows how far it is.
BATCHES = 50
# Webhooks come first: whoever waits for the disk is let in between.
PAUSE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class RetentionActivities:
    """Nothing of the ledger, of calls, messages, payments and decisions is touched."""

    engine: AsyncEngine
    keep_bodies_days: int

    @activity.defn
    async def empty_bodies(self, sweep: Sweep) -> Sweep:
        """Go on with a sweep for some batches. Who tries it again finds what is left."""
        for _ in range(BATCHES):
            async with self.engine.begin() as connection:
                sweep = sweep.after(
                    await retention.empty_bodies(
                        connection, sweep.reached, self.keep_bodies_days, BATCH
                    )
                )
            activity.heartbeat(sweep.reached)
            if not sweep.more:
                break
            await asyncio.sleep(PAUSE_SECONDS)
        return sweep

    @activity.defn
    async def forget_keys(self, sweep: Sweep) -> Sweep:
        """Forget all requests that nobody sends again."""
        forgotten, batch = 0, BATCH
        while batch == BATCH:
            async with self.engine.begin() as connection:
                batch = await retention.forget_keys(connection, KEEP_IDEMPOTENCY_KEYS_DAYS, BATCH)
            forgotten += batch
            activity.heartbeat(forgotten)
            await asyncio.sleep(PAUSE_SECONDS)
        return replace(sweep, forgotten_keys=sweep.forgotten_keys + forgotten)
