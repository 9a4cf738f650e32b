"""Every day, remove old bodies of webhooks, and answers that nobody asks for any more."""

from temporalio import workflow

from activities.inbox.retention import RetentionActivities
from billing.inbox.retention import Sweep, next_sweep
from workflows.shared.options import PRUNE

# On this day of the month everything is looked at, also what the last run has found clean.
_WHOLE_ON_DAY = 1


@workflow.defn
class PruneInbox:
    """Sweep the inbox, oldest event first, from where the schedule's last run left something."""

    @workflow.run
    async def run(self, sweep: Sweep | None = None) -> Sweep:
        """Remove bodies and answers that are old; return how far the sweep came.

        `sweep` is how far a run came that continues as this one.
        """
        sweep = sweep or _begin()
        while sweep.more:
            workflow.set_current_details(_page(sweep))
            sweep = await workflow.execute_activity_method(
                RetentionActivities.empty_bodies,
                sweep,
                summary=f"remove bodies after event {sweep.reached}",
                **PRUNE,
            )
            if sweep.more and workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(sweep)
        sweep = await workflow.execute_activity_method(
            RetentionActivities.forget_keys, sweep, summary="forget old answers", **PRUNE
        )
        workflow.set_current_details(_page(sweep))
        return sweep


def _begin() -> Sweep:
    last = workflow.get_last_completion_result(Sweep)
    return next_sweep(last, whole=workflow.now().day == _WHOLE_ON_DAY)


def _page(sweep: Sweep) -> str:
    return "\n".join(
        (
            f"## {sweep.emptied} bodies removed",
            f"{sweep.looked_at} events looked at, up to event {sweep.reached};"
            f" {sweep.left} left, for they wait or were in use",
            *(f"- the body of event {one} cannot be removed" for one in sweep.failed),
            "",
            f"{sweep.forgotten_keys} answers to requests forgotten"
            f"{_unforgotten(sweep.unforgotten_keys)}",
        )
    )


def _unforgotten(keys: int) -> str:
    return f"; {keys} cannot be removed (the worker's log says why)" if keys else ""
