"""What is known here of what a provider lists: read in sets, to be compared with the list."""

from collections.abc import Collection, Sequence

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.call import CallState, EndedCall
from billing.comparison import KnownCall
from billing.ledger import call_key
from billing.webhook import END_OF_CALL, Source, call_event_key
from store import ledger
from store.schema import calls, webhook_events


async def of_calls(
    connection: AsyncConnection, listed: Sequence[EndedCall]
) -> dict[str, KnownCall]:
    """Read whether each was reported, where it stands, and what was booked for it, by its id."""
    call_ids = [call.call_id for call in listed]
    reported = await _reported(connection, call_ids)
    booked = await ledger.booked(connection, [call_key(call_id) for call_id in call_ids])
    query = select(calls.c.call_id, calls.c.state, calls.c.billed_seconds).where(
        calls.c.call_id == func.any(call_ids)
    )
    rows = {row.call_id: row for row in await connection.execute(query)}
    return {
        call_id: KnownCall(
            reported=call_id in reported,
            state=CallState(row.state) if (row := rows.get(call_id)) else None,
            billed_seconds=row.billed_seconds if row else None,
            booked=booked.get(call_key(call_id)),
        )
        for call_id in call_ids
    }


async def events_of(
    connection: AsyncConnection, payment_ids: Collection[str]
) -> dict[str, frozenset[str]]:
    """Read which types of events told of each payment; one that nothing told of is left out."""
    query = (
        select(webhook_events.c.subject, func.array_agg(webhook_events.c.type).label("types"))
        .where(webhook_events.c.source == Source.STRIPE)
        .where(webhook_events.c.subject == func.any(list(payment_ids)))
        .group_by(webhook_events.c.subject)
    )
    return {row.subject: frozenset(row.types) for row in await connection.execute(query)}


async def _reported(connection: AsyncConnection, call_ids: Collection[str]) -> set[str]:
    """Find those whose end-of-call report was accepted, settled or not."""
    keys = [call_event_key(call_id, END_OF_CALL) for call_id in call_ids]
    query = select(webhook_events.c.subject).where(
        webhook_events.c.source == Source.VAPI, webhook_events.c.key == func.any(keys)
    )
    return {row.subject for row in await connection.execute(query)}
