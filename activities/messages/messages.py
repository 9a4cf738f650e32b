"""Charge messages in PostgreSQL: one transaction an activity; the same again changes nothing."""

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.ledger.postings import books
from billing.alerts.messages import free_alerts
from billing.inbox.webhook_event import Source
from billing.messages.message import DiscardedMessage, MessageBill, MessageNews
from billing.platform_rules import PlatformRules
from store.alerts import alerts
from store.inbox import inbox
from store.messages import discards, messages, watch


class MessageActivities:
    """Activities that charge messages, or give a charge up."""

    def __init__(self, engine: AsyncEngine, rules: PlatformRules) -> None:
        self._engine = engine
        self._rules = rules

    @activity.defn
    async def bill_message(self, news: MessageNews) -> MessageBill:
        """Merge what was heard, post what is due, and mark the callbacks handled, all at once.

        People are told if it costs nothing for want of a price.
        Events are locked before messages, and messages before wallets, as in the drain, so that the
        two cannot deadlock. From now on the message's own workflow watches it.
        """
        async with books(self._engine) as connection:
            keys = [seen.key for seen in news.heard]
            await inbox.handled_by_key(connection, Source.TWILIO, keys)
            await messages.observe(connection, news.heard)
            await watch.stop_watching(connection, [news.ref.sid])
            [bill] = await messages.settle(
                connection,
                [news.ref.sid],
                reverse_undelivered=self._rules.sms_reverse_undelivered,
            )
            await alerts.tell_each(connection, free_alerts([bill]))
        return bill

    @activity.defn
    async def discard_message(self, decision: DiscardedMessage) -> bool:
        """Record that a person gave a charge up; return False if it was charged in the meantime.

        The message is written down if it is not yet, or what is heard later would charge it. What
        was heard by now is done with.
        """
        async with self._engine.begin() as connection:
            await inbox.handled_by_key(connection, Source.TWILIO, decision.event_keys)
            await messages.observe(connection, [decision.seen] if decision.seen else [])
            return await discards.discard(connection, decision.sid, decision.note)
