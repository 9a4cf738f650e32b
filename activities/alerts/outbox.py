"""Deliver the alerts that wait in the outbox: to Slack, or to the log where there is no Slack."""

import logging

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.alerts.slack import SlackWebhook
from billing.alerts.alert import Alert, AlertDelivery, AlertLevel
from store.alerts import alerts

# Slack takes about one message a second from a webhook. A batch must end within its time-out.
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
    """Activities that deliver alerts."""

    def __init__(self, engine: AsyncEngine, slack: SlackWebhook | None) -> None:
        self._engine = engine
        self._slack = slack

    @activity.defn
    async def deliver(self) -> AlertDelivery:
        """Deliver a batch of alerts that wait, oldest first, and mark each at once.

        Delivery is at least once: an alert that Slack took, but whose mark was lost, is sent again.
        A fault ends the batch, so that the order stays. An alert that Slack refuses for good holds
        up no other.
        """
        async with self._engine.connect() as connection:
            waiting = await alerts.pending(connection, BATCH)
        given_up = 0
        for alert in waiting:
            activity.heartbeat()
            given_up += not await self._deliver(alert)
        return AlertDelivery(len(waiting) - given_up, given_up, more=len(waiting) == BATCH)

    @activity.defn
    async def tell_now(self, alert: Alert) -> bool:
        """Post an alert past the outbox, for when it is about PostgreSQL itself.

        A fault is retried. Return False if Slack will never take it; then only the log has it.
        """
        if self._slack is None:
            _log(alert)
            return True
        problem = await self._slack.post(alert)
        if problem is not None:
            log.error("an alert cannot be told", problem=problem, key=alert.key, title=alert.title)
        return problem is None

    async def _deliver(self, alert: Alert) -> bool:
        """Deliver one alert, outside of any transaction; return False if it was given up."""
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
