"""Look every minute whether what should happen does happen."""

from dataclasses import dataclass, replace
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from activities.alerts import AlertActivities
from activities.reconciliation import ReconciliationActivities
from activities.watch import WatchActivities
from billing.alarms.outage import Outage, away
from workflows.deliver_alerts import deliver_alerts
from workflows.options import ALERTS, PATIENT, WATCH, WATCH_AGAIN


@dataclass(frozen=True, slots=True)
class Watch:
    """How long a watch is: as many rounds, with this much time between them."""

    rounds: int = 10
    every: timedelta = timedelta(minutes=1)


ONE_WATCH = Watch()


@workflow.defn
class WatchBilling:
    """The watchman's rounds: nothing that is missing raises an alarm by itself."""

    @workflow.run
    async def run(self, watch: Watch = ONE_WATCH) -> int:
        """Make the rounds, and have what is to be told delivered; answers how much that was.

        A round that could not look does not count, and after it there is a pause: at the end of an
        outage everything is late, and a minute later no longer.
        """
        looked = told = 0
        while True:
            news = await self._look(first=not looked)
            looked += news is not None
            told += news or 0
            if looked == watch.rounds:
                return told
            await workflow.sleep(watch.every)

    async def _look(self, *, first: bool) -> int | None:
        """Look once; answers how many alerts that gave, or None when it could not."""
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
        """Tell that nobody can look, past the outbox; wait until somebody can; tell that too."""
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
    """Name what a look failed with; its words stay in the history, where they may name anything."""
    cause = failure.cause
    return cause.type or "" if isinstance(cause, ApplicationError) else "it takes too long"
