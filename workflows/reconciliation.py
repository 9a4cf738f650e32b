"""What both reconciliations do: open a run, compare page by page, put right, and sum up."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from temporalio import workflow
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from activities.reconciliation.runs import (
    Closing,
    Comparing,
    ReconciliationActivities,
    Review,
    RunOpening,
    Setback,
)
from activities.temporal.search_attributes import ORG_ID, RUNNING, BillingState
from billing.errors import InvalidWindow
from billing.reconciliation.given_up import RUN_GIVEN_UP
from billing.reconciliation.reconciliation import (
    Finding,
    Progress,
    Reconciliation,
    Report,
    Run,
    RunStep,
    window_of,
)
from workflows.shared.alert_requests import deliver_alerts
from workflows.shared.options import BILLING_QUEUE, DATABASE, PATIENT, StartOptions
from workflows.shared.parking import Parking

# The pauses between looks at a portion of findings. What takes longer than all of them settles by
# itself. A portion takes two or three seconds, and the next one waits for it, so the first looks
# are close together.
_LOOKS = tuple(timedelta(seconds=seconds) for seconds in (0.5,) * 6 + (1, 1, 2, 2, 4, 4))


class Reconciling(Parking, ABC):
    """A reconciliation. It keeps how far it is, and goes on there after it was parked."""

    def __init__(self) -> None:
        super().__init__()
        self._run: Run | None = None
        self._refusal: InvalidWindow | None = None
        self._progress = Progress()

    @abstractmethod
    async def compare(self, at: Comparing) -> Progress:
        """Compare a page of the provider's list with the ledger."""

    @abstractmethod
    async def put_right(self, finding: Finding) -> None:
        """Start or signal the process that live traffic goes through, to look at a finding."""

    @workflow.update(description="Answers with the run, as soon as its window is decided.")
    async def opened(self) -> Run:
        """Return the run. Raise ApplicationError with the code of a refusal."""
        await workflow.wait_condition(lambda: self._run is not None or self._refusal is not None)
        if self._run is None:
            raise ApplicationError(str(self._refusal), type=InvalidWindow.code)
        return self._run

    async def reconcile(self, wanted: Reconciliation) -> Report | None:
        """Reconcile. Return None if the window is refused, or a person gave the run up."""
        self._progress = wanted.progress
        self.found_owner(wanted.org_id)
        if self._is_refused(wanted):
            await self.close(BillingState.DISCARDED)
            return None
        report = await self.until_settled(lambda: self._attempt(wanted))
        if report is None:
            await self._set_back(f"{RUN_GIVEN_UP}{self.discarded_by}", final=True)
        await deliver_alerts()
        state = BillingState.SETTLED if report else BillingState.DISCARDED
        await self.close(state, wanted.org_id)
        return report

    def _is_refused(self, wanted: Reconciliation) -> bool:
        try:
            window_of(wanted, workflow.now(), None)
        except InvalidWindow as refusal:
            self._refusal = refusal
            return True
        return False

    async def _attempt(self, wanted: Reconciliation) -> Report:
        """Go on where the run was. Record what stops it, and send an alert, before it parks."""
        self.go_on()
        try:
            return await self._go_on(wanted)
        except ActivityError as failure:
            if not is_cancelled_exception(failure):
                await self._set_back(self.why(failure).happened)
                await deliver_alerts()
            raise

    async def _go_on(self, wanted: Reconciliation) -> Report:
        info = workflow.info()
        run = self._run = await workflow.execute_activity_method(
            ReconciliationActivities.open_run,
            RunOpening(info.first_execution_run_id, info.workflow_id, wanted, workflow.now()),
            summary="decide the window",
            **DATABASE,
        )
        await self._compare_all(run, wanted)
        if not run.dry_run:
            await self._put_all_right(run, wanted)
        return await workflow.execute_activity_method(
            ReconciliationActivities.close_run,
            Closing(run.run_id, workflow.now()),
            summary="sum up",
            **DATABASE,
        )

    async def _compare_all(self, run: Run, wanted: Reconciliation) -> None:
        while self._progress.step is RunStep.COMPARING:
            self._show(f"Comparing: {self._progress.pages} pages so far", run)
            self._progress = await self.compare(Comparing(run, self._progress))
            await self._begin_anew_if_long(wanted)

    async def _put_all_right(self, run: Run, wanted: Reconciliation) -> None:
        """Put the findings right by portions: so many processes run at once, and no more."""
        self._show(f"Compared {self._progress.pages} pages; putting right what was found", run)
        while portion := await self._next_portion(run):
            await asyncio.gather(*(self.put_right(finding) for finding in portion))
            await self._review(run, portion)
            await self._begin_anew_if_long(wanted)

    async def _next_portion(self, run: Run) -> list[Finding]:
        return await workflow.execute_activity_method(
            ReconciliationActivities.next_findings, run.run_id, **DATABASE
        )

    async def _review(self, run: Run, portion: Sequence[Finding]) -> None:
        """Look until every finding of the portion is settled or parked, or it takes too long."""
        subjects = tuple(finding.subject for finding in portion)
        for number, pause in enumerate(_LOOKS, start=1):
            await workflow.sleep(pause)
            still_open = await workflow.execute_activity_method(
                ReconciliationActivities.review,
                Review(run.run_id, subjects, last=number == len(_LOOKS)),
                summary=f"see what became of {len(subjects)}",
                **DATABASE,
            )
            if not still_open:
                return

    async def _set_back(self, problem: str, *, final: bool = False) -> None:
        if self._run is not None:
            await workflow.execute_activity_method(
                ReconciliationActivities.set_back,
                Setback(self._run.run_id, problem, workflow.now(), final),
                **PATIENT,
            )

    async def _begin_anew_if_long(self, wanted: Reconciliation) -> None:
        if await self.may_begin_anew():
            workflow.continue_as_new(replace(wanted, progress=self._progress))

    def _show(self, what: str, run: Run) -> None:
        workflow.set_current_details(
            f"## {what}\nRun `{run.run_id}`, from {run.window.since:%Y-%m-%d %H:%M} to"
            f" {run.window.until:%Y-%m-%d %H:%M} UTC"
            f"{', a dry run' if run.dry_run else ''}. Reached: {self._progress.below or '-'}"
        )


def start_options(wanted: Reconciliation) -> StartOptions:
    """Return how a reconciliation is started. To start the same one while it runs joins it."""
    begin, end = wanted.since, wanted.until
    window = f"{begin or ''}..{end or ''}".replace(" ", "T") if begin or end else "latest"
    # The prefix is needed because an organisation may be called `all`.
    of_whom = f"org:{wanted.org_id}" if wanted.org_id else "all"
    about = [SearchAttributePair(ORG_ID, wanted.org_id)] if wanted.org_id else []
    return StartOptions(
        id=f"reconcile-{wanted.source}/{of_whom}/{window}{'/dry-run' if wanted.dry_run else ''}",
        task_queue=BILLING_QUEUE,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        static_summary=f"Reconcile with {wanted.source.capitalize()}: {of_whom},"
        f" {window}{', dry run' if wanted.dry_run else ''}"[:200],
        search_attributes=TypedSearchAttributes([*RUNNING, *about]),
    )
