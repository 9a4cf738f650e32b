"""Remove what is not kept for ever: bodies of webhooks, and answers to requests that act once.

In small batches, each a transaction of its own; rows that somebody works on are passed over.
"""

from collections.abc import Collection

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.retention import EmptiedBatch
from store.schema import webhook_events

# What the audit holds payments and refunds against, of what Stripe told: ids and amounts.
_KEPT = (
    "id", "status", "currency", "amount", "amount_received", "amount_total", "payment_status",
    "client_reference_id", "customer", "balance_transaction",
)  # fmt: skip
_KEPT_METADATA = ("org_id", "type", "amount_minor")


def _scalars(of: str) -> str:
    """Pick from an object the keys that are kept; an object in one of them is not."""
    return f"""
        SELECT coalesce(jsonb_object_agg(key, value), '{{}}')
        FROM jsonb_each(CASE jsonb_typeof({of}) WHEN 'object' THEN {of} END)
        WHERE jsonb_typeof(value) NOT IN ('object', 'array')"""  # noqa: S608


# A body that is no JSON (PostgreSQL's, without U+0000) has nothing to keep.
_EMPTY = text(f"""
    WITH old AS (
        SELECT event_id FROM webhook_events
        WHERE event_id = ANY(:event_ids) AND status <> 'waiting'
        ORDER BY event_id FOR UPDATE SKIP LOCKED
    )
    UPDATE webhook_events AS event
    SET body_removed_at = now(), body = CASE
        WHEN source = 'stripe' AND pg_input_is_valid(body, 'jsonb') THEN (
            SELECT CAST(jsonb_build_object('data', jsonb_build_object('object',
                ({_scalars("told")} AND key = ANY(:kept))
                || jsonb_build_object('metadata',
                    ({_scalars("told -> 'metadata'")} AND key = ANY(:kept_metadata)))
            )) AS text)
            FROM (SELECT CAST(body AS jsonb) #> '{{data,object}}' AS told) AS read)
        ELSE '' END
    FROM old WHERE event.event_id = old.event_id
    RETURNING event.event_id
""")  # noqa: S608

_FORGET = text("""
    DELETE FROM idempotency_keys WHERE (caller, key) IN (
        SELECT caller, key FROM idempotency_keys
        WHERE claimed_until < now() - make_interval(days => :days)
        LIMIT :limit FOR UPDATE SKIP LOCKED)
""")


async def empty_bodies(
    connection: AsyncConnection, after: int, days: int, limit: int
) -> EmptiedBatch:
    """Remove the bodies of up to `limit` events from the one after event `after` on.

    Of those that came more than `days` days ago and do not wait. Rows, keys and facts stay: they
    are what makes an event that comes again a duplicate. Of what Stripe told stay the ids and
    amounts that the audit compares.
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
    # Events come in the order of their numbers, or nearly: what is not old yet ends it.
    young = next((place for place, row in enumerate(rows) if not row.is_old), len(rows))
    old = rows[:young]
    full = [row.event_id for row in old if row.body_removed_at is None]
    left = set(full) - await _empty(connection, full) if full else set[int]()
    return EmptiedBatch(
        last=old[-1].event_id if old else after,
        old=len(old),
        emptied=len(full) - len(left),
        left=len(left),
        first_left=min(left, default=None),
        more=len(old) == limit,
    )


async def forget_keys(connection: AsyncConnection, days: int, limit: int) -> int:
    """Forget up to `limit` requests that were answered, or given up, more than `days` days ago."""
    return (await connection.execute(_FORGET, {"days": days, "limit": limit})).rowcount


async def _empty(connection: AsyncConnection, event_ids: Collection[int]) -> set[int]:
    given = {
        "event_ids": list(event_ids),
        "kept": list(_KEPT),
        "kept_metadata": list(_KEPT_METADATA),
    }
    return {row.event_id for row in await connection.execute(_EMPTY, given)}
