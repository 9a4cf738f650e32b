"""Read what is known here of the things that a provider lists, a page of the list at a time."""

from collections.abc import Collection, Sequence

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.calls.call import CallState, EndedCall
from billing.inbox.webhook_event import END_OF_CALL, Source, call_event_key
from billing.ledger.entry import call_key
from billing.reconciliation.call_comparison import KnownCall
from billing.reconciliation.card_comparison import Recharged
from store.calls.call_records import FACTS
from store.ledger import ledger
from store.payments import saved_cards
from store.schema import calls, recharge_settings, stripe_customers, webhook_events


async def of_calls(
    connection: AsyncConnection, listed: Sequence[EndedCall]
) -> dict[str, KnownCall]:
    """Read whether each call was reported, where it stands, what was booked and said, by its id."""
    call_ids = [call.call_id for call in listed]
    reported = await _reported(connection, call_ids)
    booked = await ledger.booked(connection, [call_key(call_id) for call_id in call_ids])
    query = select(
        calls.c.call_id,
        calls.c.state,
        calls.c.billed_seconds,
        calls.c.correction_given_up,
        calls.c.facts,
    ).where(calls.c.call_id == func.any(call_ids))
    rows = {row.call_id: row for row in await connection.execute(query)}
    return {
        call_id: KnownCall(
            reported=call_id in reported,
            state=CallState(row.state) if (row := rows.get(call_id)) else None,
            billed_seconds=row.billed_seconds if row else None,
            booked=booked.get(call_key(call_id)),
            is_final=row.correction_given_up if row else False,
            facts=FACTS.validate_python(row.facts) if row else None,
        )
        for call_id in call_ids
    }


async def events_of(
    connection: AsyncConnection, payment_ids: Collection[str]
) -> dict[str, frozenset[str]]:
    """Read the types of the events about each payment. A payment without any is left out."""
    query = (
        select(webhook_events.c.subject, func.array_agg(webhook_events.c.type).label("types"))
        .where(webhook_events.c.source == Source.STRIPE)
        .where(webhook_events.c.subject == func.any(list(payment_ids)))
        .group_by(webhook_events.c.subject)
    )
    return {row.subject: frozenset(row.types) for row in await connection.execute(query)}


async def recharged(
    connection: AsyncConnection, org_id: str | None, after: str, limit: int
) -> list[Recharged]:
    """Read the organisations that are recharged, by id, with their customers and cards."""
    settings = recharge_settings.c
    query = (
        select(settings.org_id, stripe_customers.c.customer_id)
        .outerjoin_from(
            recharge_settings, stripe_customers, stripe_customers.c.org_id == settings.org_id
        )
        .where(settings.enabled, settings.org_id > after)
        .order_by(settings.org_id)
        .limit(limit)
    )
    if org_id is not None:
        query = query.where(settings.org_id == org_id)
    rows = (await connection.execute(query)).all()
    kept = await saved_cards.of_all(connection, [row.org_id for row in rows])
    return [Recharged(row.org_id, row.customer_id, kept.get(row.org_id)) for row in rows]


async def _reported(connection: AsyncConnection, call_ids: Collection[str]) -> set[str]:
    """Return those calls whose end-of-call report was accepted, settled or not."""
    keys = [call_event_key(call_id, END_OF_CALL) for call_id in call_ids]
    query = select(webhook_events.c.subject).where(
        webhook_events.c.source == Source.VAPI, webhook_events.c.key == func.any(keys)
    )
    return {row.subject for row in await connection.execute(query)}
