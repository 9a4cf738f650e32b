"""Charge calls in PostgreSQL: one transaction an activity, and the same again changes nothing."""

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.ledger.postings import books
from billing.alerts.calls import length_unknown
from billing.calls.call import CallBill, CallState, EndedCall
from billing.calls.call_record import DiscardedCall
from billing.inbox.webhook_event import END_OF_CALL, Source, call_event_key
from store.alerts import alerts
from store.calls import calls, discards
from store.inbox import inbox


class CallActivities:
    """Activities that charge calls, or give a charge up."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @activity.defn
    async def bill_call(self, call: EndedCall) -> CallBill:
        """Charge one call, or record why it waits; mark its webhook handled in that transaction.

        Events are locked before wallets, as in the drain, so that the two cannot deadlock. If not
        even Vapi's API says how long it took, people are told.
        """
        async with books(self._engine) as connection:
            key = call_event_key(call.call_id, END_OF_CALL)
            await inbox.handled_by_key(connection, Source.VAPI, [key])
            [bill] = await calls.charge(connection, [call])
            if bill.state is CallState.UNKNOWN_DURATION and call.provider_ended:
                now = activity.info().started_time
                await alerts.tell(connection, length_unknown(bill, now))
        return bill

    @activity.defn
    async def discard_call(self, decision: DiscardedCall) -> bool:
        """Record that a person gave a charge up; return False if it was charged in the meantime.

        Either way its report is done with, or the drain would hand it over again and again.
        """
        async with self._engine.begin() as connection:
            key = call_event_key(decision.call.call_id, END_OF_CALL)
            await inbox.handled_by_key(connection, Source.VAPI, [key])
            return await discards.discard(connection, decision.call, decision.note)
