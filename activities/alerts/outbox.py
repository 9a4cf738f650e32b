"""Deliver the alerts that wait in the outbox: to Slack, or to the log where there is no Slack."""

import logging
from operator import attrgetter

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.alerts.slack import SlackWebhook
from activities.temporal.isolation import each_apart, is_of_data
from activities.temporal.retry_after import RATE_LIMITED
from billing.alerts.alert import Alert, AlertDelivery, AlertLevel
from store.alerts import alerts

# Slack takes about one message a second from a webhook. A batch must end within its time-out.
BATCH = 20
NO_SLACK = "no Slack is configured: it is in the worker's log"
# So often every fault counts as one of Slack's.
_TRIES = 3
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
        up no other, nor does one that it answers with a fault at each of three tries.
        """
        async with self._engine.connect() as connection:
            waiting = await alerts.pending(connection, BATCH)
        told = await each_apart(waiting, self._deliver, attrgetter("key"), _Faults().is_outage)
        for failed in told.failed:
            if not is_of_data(failed.failure):
                raise failed.failure
            await self._give_up(failed.one, failed.problem)
        delivered = sum(told.done)
        return AlertDelivery(delivered, len(waiting) - delivered, more=len(waiting) == BATCH)

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
        await self._give_up(alert, problem)
        return False

    async def _give_up(self, alert: Alert, problem: str) -> None:
        log.error("an alert cannot be delivered", problem=problem, key=alert.key, title=alert.title)
        async with self._engine.begin() as connection:
            await alerts.undeliverable(connection, alert.key, problem)

    async def _mark_delivered(self, alert: Alert, problem: str | None = None) -> None:
        async with self._engine.begin() as connection:
            await alerts.delivered(connection, alert.key, problem)


class _Faults:
    """Tells Slack's faults from what is one alert's own: an outage is of two at least."""

    def __init__(self) -> None:
        self._count = 0

    def is_outage(self, failure: Exception) -> bool:
        """Return whether a failure says something of Slack, and not of the alert alone.

        At the first tries every fault does, so that alerts stay in their order through an outage.
        """
        if is_of_data(failure):
            return False
        self._count += 1
        is_limit = isinstance(failure, ApplicationError) and failure.type == RATE_LIMITED
        return is_limit or self._count > 1 or activity.info().attempt < _TRIES


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
