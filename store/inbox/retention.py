"""Remove what is not kept for ever: bodies of webhooks, and answers to requests that act once.

It goes in small batches. SKIP LOCKED passes over rows that another transaction works on, so that
nobody waits for this, and this waits for nobody.
"""

from collections.abc import Awaitable, Callable, Sequence

from sqlalchemy import delete, func, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.inbox.retention import EmptiedBatch
from store.schema import idempotency_keys, webhook_events

# What stays of Stripe's events: the ids, states and amounts that the audit compares.
_KEPT = (
    "id", "status", "currency", "amount", "amount_received", "amount_total", "payment_status",
    "client_reference_id", "customer", "balance_transaction",
)  # fmt: skip
_KEPT_METADATA = ("org_id", "type", "amount_minor")


def _scalars(of: str) -> str:
    """Return the SQL that picks single values, not objects or arrays, out of a JSON object.

    The caller adds the condition for the keys. CASE gives NULL for what is no object, of which
    `jsonb_each` then makes no rows instead of an error.
    """
    return f"""
        SELECT coalesce(jsonb_object_agg(key, value), '{{}}')
        FROM jsonb_each(CASE jsonb_typeof({of}) WHEN 'object' THEN {of} END)
        WHERE jsonb_typeof(value) NOT IN ('object', 'array')"""  # noqa: S608


# What is kept of Stripe's events stays in the shape in which it came, `data.object` and, of thin
# ones, `related_object`, so that the audit reads it as before. A body that is no JSON for
# PostgreSQL, which takes no U+0000, has nothing to keep.
_EMPTY = text(f"""
    WITH old AS (
        SELECT event_id FROM webhook_events
        WHERE event_id = ANY(:event_ids) AND status <> 'waiting'
        ORDER BY event_id FOR UPDATE SKIP LOCKED
    )
    UPDATE webhook_events AS event
    SET body_removed_at = now(), body = CASE
        WHEN source = 'stripe' AND is_jsonb(body) THEN (
            SELECT CAST(jsonb_build_object('data', jsonb_build_object('object',
                ({_scalars("told")} AND key = ANY(:kept))
                || jsonb_build_object('metadata',
                    ({_scalars("told -> 'metadata'")} AND key = ANY(:kept_metadata)))
            )) || CASE jsonb_typeof(named) WHEN 'object' THEN jsonb_build_object('related_object',
                ({_scalars("named")} AND key IN ('id', 'type'))) ELSE '{{}}' END AS text)
            FROM (SELECT event #> '{{data,object}}' AS told, event -> 'related_object' AS named
                  FROM (SELECT CAST(body AS jsonb) AS event) AS whole) AS read)
        ELSE '' END
    FROM old WHERE event.event_id = old.event_id
    RETURNING event.event_id
""")  # noqa: S608

_OLD_KEYS = text("""
    SELECT caller, key FROM idempotency_keys
    WHERE claimed_until < now() - make_interval(days => :days) AND (caller, key) > (:caller, :key)
    ORDER BY caller, key LIMIT :limit FOR UPDATE SKIP LOCKED
""")
# A key is one only with its caller.
OwnKey = tuple[str, str]


Emptying = Callable[[AsyncConnection, Sequence[int]], Awaitable[Sequence[int]]]


async def empty(connection: AsyncConnection, event_ids: Sequence[int]) -> list[int]:
    """Remove the bodies of those that do not wait and are not in use; return which.

    Rows, keys and facts stay, so that an event that comes again is a duplicate. Of Stripe's events
    the ids and amounts stay that the audit compares, and of thin ones which object they name.
    """
    given = {
        "event_ids": list(event_ids),
        "kept": list(_KEPT),
        "kept_metadata": list(_KEPT_METADATA),
    }
    return [row.event_id for row in await connection.execute(_EMPTY, given)]


async def empty_bodies(
    connection: AsyncConnection, after: int, days: int, limit: int, emptying: Emptying = empty
) -> EmptiedBatch:
    """Remove the bodies among the `limit` events after event `after`.

    Removed are those that came more than `days` days ago and do not wait. `emptying` does it as
    `empty` does, or stops at less.
    """
    table = webhook_events.c
    is_old = table.received_at < func.now() - func.make_interval(0, 0, 0, days)
    query = (
        select(table.event_id, table.body_removed_at, is_old.label("is_old"))
        .where(table.event_id > after)
        .order_by(table.event_id)
        .limit(limit)
    )
    rows = (await connection.execute(query)).all()
    # Ids nearly follow the time of receipt, so the first event that is not old ends the batch.
    young = next((place for place, row in enumerate(rows) if not row.is_old), len(rows))
    old = rows[:young]
    full = [row.event_id for row in old if row.body_removed_at is None]
    left = set(full) - set(await emptying(connection, full)) if full else set[int]()
    return EmptiedBatch(
        last=old[-1].event_id if old else after,
        old=len(old),
        emptied=len(full) - len(left),
        left=len(left),
        first_left=min(left, default=None),
        more=len(old) == limit,
    )


async def old_keys(
    connection: AsyncConnection, days: int, after: OwnKey, limit: int
) -> list[OwnKey]:
    """Lock up to `limit` keys, each with its caller, in their order from the one after `after`.

    They are of requests that were answered, or given up, more than `days` days ago.
    """
    caller, key = after
    given = {"days": days, "caller": caller, "key": key, "limit": limit}
    return [(row.caller, row.key) for row in await connection.execute(_OLD_KEYS, given)]


async def forget_keys(connection: AsyncConnection, keys: Sequence[OwnKey]) -> None:
    """Forget requests."""
    table = idempotency_keys.c
    named = tuple_(table.caller, table.key).in_(keys)
    await connection.execute(delete(idempotency_keys).where(named))
