"""Charge messages on PostgreSQL: one transaction an activity; the same again changes nothing."""

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.postings import books
from billing.message import DiscardedMessage, MessageBill, MessageNews
from billing.webhook import Source
from store import inbox, messages


class MessageActivities:
    """What happens to messages in the ledger.

    `reverse_undelivered` says whether a message that did not arrive is given back.
    """

    def __init__(self, engine: AsyncEngine, *, reverse_undelivered: bool) -> None:
        self._engine = engine
        self._reverse_undelivered = reverse_undelivered

    @activity.defn
    async def bill_message(self, news: MessageNews) -> MessageBill:
        """Merge what was heard and post what is due; the callbacks are handled in that instant.

        Events are locked before messages and those before wallets, as the drain does it, so that
        the two cannot deadlock. From now on its own workflow watches the message.
        """
        async with books(self._engine) as connection:
            keys = [seen.key for seen in news.heard]
            await inbox.handled_by_key(connection, Source.TWILIO, keys)
            await messages.observe(connection, news.heard)
            await messages.stop_watching(connection, [news.ref.sid])
            [bill] = await messages.settle(
                connection, [news.ref.sid], reverse_undelivered=self._reverse_undelivered
            )
        return bill

    @activity.defn
    async def discard_message(self, decision: DiscardedMessage) -> bool:
        """Record that a person gave the charge up; False when it was charged in the meantime."""
        async with self._engine.begin() as connection:
            return await messages.discard(connection, decision.sid, decision.note)
