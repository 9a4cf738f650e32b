"""Remove from PostgreSQL what is not kept for ever, one batch a transaction."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from activities.temporal.isolation import Apart, apart
from billing.alerts.inbox import cannot_be_emptied, cannot_be_forgotten
from billing.inbox.retention import KEEP_IDEMPOTENCY_KEYS_DAYS, EmptiedBatch, Sweep
from billing.platform_rules import PlatformRules
from store.alerts import alerts
from store.inbox import retention
from store.inbox.retention import OwnKey

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
                sweep = sweep.after(await self._empty(connection, sweep.reached))
            activity.heartbeat(sweep.reached)
            if not sweep.more:
                break
            await asyncio.sleep(PAUSE_SECONDS)
        return sweep

    async def _empty(self, connection: AsyncConnection, after: int) -> EmptiedBatch:
        """Empty a batch. Of which the body cannot be removed is left, and people are told."""
        failed: list[int] = []

        async def empty_part(part: Sequence[int]) -> Sequence[int]:
            async with connection.begin_nested():
                return await retention.empty(connection, part)

        async def empty_apart(_: AsyncConnection, event_ids: Sequence[int]) -> Sequence[int]:
            emptied = await apart(event_ids, empty_part, "event {}".format, one_is_alone=True)
            failed.extend(emptied.alone)
            return emptied.done

        days = self.rules.keep_bodies_days
        batch = await retention.empty_bodies(connection, after, days, BATCH, empty_apart)
        if failed:
            await alerts.tell(connection, cannot_be_emptied(failed))
        return replace(batch, failed=tuple(failed))

    @activity.defn
    async def forget_keys(self, sweep: Sweep) -> Sweep:
        """Delete all requests that nobody sends again, and count them in.

        Which cannot be deleted is left, and people are told.
        """
        forgotten, left = 0, 0
        after: OwnKey | None = ("", "")
        while after is not None:
            async with self.engine.begin() as connection:
                forgot, after = await _forget(connection, after)
            forgotten += len(forgot.done)
            left += len(forgot.alone)
            activity.heartbeat(forgotten)
            await asyncio.sleep(PAUSE_SECONDS)
        return replace(
            sweep,
            forgotten_keys=sweep.forgotten_keys + forgotten,
            unforgotten_keys=sweep.unforgotten_keys + left,
        )


async def _forget(
    connection: AsyncConnection, after: OwnKey
) -> tuple[Apart[OwnKey, OwnKey], OwnKey | None]:
    """Forget the keys after one; return after which the next are, or None if there are no more."""

    async def forget_part(part: Sequence[OwnKey]) -> Sequence[OwnKey]:
        async with connection.begin_nested():
            await retention.forget_keys(connection, part)
        return part

    keys = await retention.old_keys(connection, KEEP_IDEMPOTENCY_KEYS_DAYS, after, BATCH)
    forgot = await apart(keys, forget_part, _of_caller, one_is_alone=True)
    if forgot.failed:
        callers = [caller for caller, _ in forgot.alone]
        await alerts.tell(connection, cannot_be_forgotten(callers))
    return forgot, keys[-1] if len(keys) == BATCH else None


def _of_caller(key: OwnKey) -> str:
    """Name a key for the log by who sent it. What it says itself is theirs."""
    return f"an Idempotency-Key of {key[0]}"
