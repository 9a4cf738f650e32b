"""Look every minute whether what should happen does happen, and send alerts if it does not."""

from dataclasses import dataclass, replace
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from activities.alerts.outbox import AlertActivities
from activities.monitoring.watch import WatchActivities
from activities.reconciliation.runs import ReconciliationActivities
from billing.alerts.outage import Outage, away
from workflows.shared.alert_requests import deliver_alerts
from workflows.shared.options import ALERTS, PATIENT, WATCH, WATCH_AGAIN


@dataclass(frozen=True, slots=True)
class Watch:
    """How long a watch is: the number of rounds, and the time between them."""

    rounds: int = 10
    every: timedelta = timedelta(minutes=1)


ONE_WATCH = Watch()


@workflow.defn
class WatchBilling:
    """Watch over billing, for what fails to happen raises no error of its own."""

    @workflow.run
    async def run(self, watch: Watch = ONE_WATCH) -> int:
        """Make the rounds and deliver the alerts; return how many alerts there were.

        A round that could not look does not count. After it there is a pause: at the end of an
        outage everything is late, and a minute later nothing is.
        """
        looked = alerted = 0
        while True:
            news = await self._look(first=not looked)
            looked += news is not None
            alerted += news or 0
            if looked == watch.rounds:
                return alerted
            await workflow.sleep(watch.every)

    async def _look(self, *, first: bool) -> int | None:
        """Look once. Return how many alerts there were, or None if it could not look."""
        began = workflow.now()
        try:
            news = await workflow.execute_activity_method(
                WatchActivities.look, began, summary="is all well?", **WATCH
            )
            if first:
                await workflow.execute_activity_method(
                    ReconciliationActivities.watch_schedules,
                    began,
                    summary="was everything reconciled?",
                    **WATCH,
                )
        except ActivityError as failure:
            if is_cancelled_exception(failure):
                raise
            await self._be_blind(Outage(began, _why(failure)))
            return None
        if news or first:
            await deliver_alerts()
        return news

    async def _be_blind(self, outage: Outage) -> None:
        """Send Slack an alert that nobody can look; when a look succeeds, alert that it is over.

        The first alert does not go through the outbox: its database may be what is away.
        """
        telling = workflow.start_activity_method(
            AlertActivities.tell_now,
            away(outage, workflow.info().workflow_id),
            summary="tell Slack, for the outbox is away",
            **ALERTS,
        )
        await workflow.execute_activity_method(
            WatchActivities.can_look, outage.since, summary="wait until it can look", **WATCH_AGAIN
        )
        heard = telling.done() and telling.result()
        over = replace(outage, until=workflow.now(), told=heard)
        telling.cancel()
        await workflow.execute_activity_method(WatchActivities.tell_it_is_over, over, **PATIENT)
        await deliver_alerts()


def _why(failure: ActivityError) -> str:
    """Name the kind of error with which a look failed.

    Its message stays in the history, for it may contain anything.
    """
    cause = failure.cause
    return cause.type or "" if isinstance(cause, ApplicationError) else "it takes too long"
