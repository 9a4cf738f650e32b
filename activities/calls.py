"""Charge calls on PostgreSQL: one transaction an activity, and the same again changes nothing."""

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.postings import books
from billing.call import CallBill, DiscardedCall, EndedCall
from billing.webhook import END_OF_CALL, Source, call_event_key
from store import calls, inbox


class CallActivities:
    """What happens to calls in the ledger."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @activity.defn
    async def bill_call(self, call: EndedCall) -> CallBill:
        """Charge one call, or record why it waits; its webhook is handled in the same instant.

        Events are locked before wallets, as the drain does it, so that the two cannot deadlock.
        """
        async with books(self._engine) as connection:
            key = call_event_key(call.call_id, END_OF_CALL)
            await inbox.handled_by_key(connection, Source.VAPI, [key])
            [bill] = await calls.charge(connection, [call])
        return bill

    @activity.defn
    async def discard_call(self, decision: DiscardedCall) -> bool:
        """Record that a person gave the charge up; False when it was charged in the meantime."""
        async with self._engine.begin() as connection:
            return await calls.discard(connection, decision.call, decision.note)
