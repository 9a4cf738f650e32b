"""Deliver the alerts that wait in the outbox: to Slack, or to the log where there is no Slack."""

import logging

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.slack import SlackWebhook
from billing.alert import Alert, AlertLevel, Delivery
from store import alerts

# Slack takes about one message a second from a webhook; a batch must end within its time-out.
BATCH = 20
NO_SLACK = "no Slack is configured: it is in the worker's log"
_LOG_LEVELS = {
    AlertLevel.INFO: logging.INFO,
    AlertLevel.MEDIUM: logging.WARNING,
    AlertLevel.HIGH: logging.ERROR,
    AlertLevel.CRITICAL: logging.CRITICAL,
}
log = structlog.get_logger()


class AlertActivities:
    """What happens to alerts."""

    def __init__(self, engine: AsyncEngine, slack: SlackWebhook | None) -> None:
        self._engine = engine
        self._slack = slack

    @activity.defn
    async def deliver(self) -> Delivery:
        """Deliver a batch of what waits, oldest first, and mark each at once.

        At least once: an alert that Slack took, and whose mark was lost, comes again. A fault ends
        the batch, so that the order stays; an alert that Slack refuses for good holds up nothing.
        """
        async with self._engine.connect() as connection:
            waiting = await alerts.pending(connection, BATCH)
        given_up = 0
        for alert in waiting:
            activity.heartbeat()
            given_up += not await self._deliver(alert)
        return Delivery(len(waiting) - given_up, given_up, more=len(waiting) == BATCH)

    @activity.defn
    async def tell_now(self, alert: Alert) -> bool:
        """Tell an alert past the outbox, for when PostgreSQL is what it is about.

        A fault is retried; False when Slack will never take it, which then only the log has.
        """
        if self._slack is None:
            _log(alert)
            return True
        problem = await self._slack.post(alert)
        if problem is not None:
            log.error("an alert cannot be told", problem=problem, key=alert.key, title=alert.title)
        return problem is None

    async def _deliver(self, alert: Alert) -> bool:
        """Deliver one, outside of any transaction; False when it had to be given up."""
        if self._slack is None:
            _log(alert)
            await self._mark_delivered(alert, NO_SLACK)
            return True
        problem = await self._slack.post(alert)
        if problem is None:
            await self._mark_delivered(alert)
            return True
        log.error("an alert cannot be delivered", problem=problem, key=alert.key, title=alert.title)
        async with self._engine.begin() as connection:
            await alerts.undeliverable(connection, alert.key, problem)
        return False

    async def _mark_delivered(self, alert: Alert, problem: str | None = None) -> None:
        async with self._engine.begin() as connection:
            await alerts.delivered(connection, alert.key, problem)


def _log(alert: Alert) -> None:
    log.log(
        _LOG_LEVELS[alert.level],
        alert.title,
        alert=alert.key,
        text=alert.text,
        org_id=alert.org_id,
        workflow_id=alert.workflow_id,
        view=alert.view,
        facts=dict(alert.facts),
    )
