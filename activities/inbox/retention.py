"""Remove from PostgreSQL what is not kept for ever, one batch a transaction."""

import asyncio
from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from billing.inbox.retention import KEEP_IDEMPOTENCY_KEYS_DAYS, Sweep
from billing.platform_rules import PlatformRules
from store.inbox import retention

BATCH = 1000
# After this many batches the activity returns, so that its workflow shows how far it is.
BATCHES = 50
# Webhooks are more urgent, so each batch is followed by a pause in which they have the disk.
PAUSE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class RetentionActivities:
    """Activities that remove old bodies and keys. The ledger and all records stay untouched."""

    engine: AsyncEngine
    rules: PlatformRules

    @activity.defn
    async def empty_bodies(self, sweep: Sweep) -> Sweep:
        """Go on with a sweep for some batches. A second try finds what the first has left."""
        for _ in range(BATCHES):
            async with self.engine.begin() as connection:
                sweep = sweep.after(
                    await retention.empty_bodies(
                        connection, sweep.reached, self.rules.keep_bodies_days, BATCH
                    )
                )
            activity.heartbeat(sweep.reached)
            if not sweep.more:
                break
            await asyncio.sleep(PAUSE_SECONDS)
        return sweep

    @activity.defn
    async def forget_keys(self, sweep: Sweep) -> Sweep:
        """Delete all requests that nobody sends again, and count them in."""
        forgotten, batch = 0, BATCH
        while batch == BATCH:
            async with self.engine.begin() as connection:
                batch = await retention.forget_keys(connection, KEEP_IDEMPOTENCY_KEYS_DAYS, BATCH)
            forgotten += batch
            activity.heartbeat(forgotten)
            await asyncio.sleep(PAUSE_SECONDS)
        return replace(sweep, forgotten_keys=sweep.forgotten_keys + forgotten)
