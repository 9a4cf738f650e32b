"""Nothing fails, it parks: visible, explaining itself, waiting for a person or for better times."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from activities.attributes import BillingState
from billing.money import Money
from billing.parking import FAULT, Parked, describe, patience
from workflows.attributes import show_done, show_parked, show_running

Settled = TypeVar("Settled")


class Parking:
    """What every process about money has: it can wait, be reprocessed, and be given up.

    Signals serve the UI and many at once (`temporal workflow signal --query …`); updates serve one,
    with an answer.
    """

    def __init__(self) -> None:
        self._standing = "running"
        self._org_id: str | None = None
        self._parked: Parked | None = None
        self._since: datetime | None = None
        self._attempts = 0
        self._answers = 0
        self._wake = False
        self._reprocessed_by: str | None = None
        self._discarded_by: str | None = None

    @workflow.signal(description="Try again now. One string: who you are and why.")
    def reprocess(self, who_and_why: str) -> None:
        """Try again now, or once more after the try that is under way."""
        workflow.logger.info("asked to reprocess: %s", who_and_why)
        self._reprocessed_by = who_and_why
        self._wake = True

    @workflow.signal(description="Give it up for good. One string: who you are and why.")
    def discard(self, who_and_why: str) -> None:
        """Give up, unless the try that is under way succeeds."""
        workflow.logger.info("asked to discard: %s", who_and_why)
        self._discarded_by = who_and_why

    @workflow.update(name="reprocess", description="Try again now; answers with what came of it.")
    async def reprocess_now(self, who_and_why: str) -> str:
        """Try again now, and answer with what came of it."""
        before = self._answers
        self.reprocess(who_and_why)
        await workflow.wait_condition(lambda: self._answers > before)
        return self._standing

    @workflow.update(name="discard", description="Give it up for good; answers when it is done.")
    async def discard_now(self, who_and_why: str) -> str:
        """Give up, and answer with what came of it."""
        self.discard(who_and_why)
        await workflow.wait_condition(lambda: self._is_done)
        return self._standing

    @reprocess_now.validator
    def _may_be_reprocessed(self, who_and_why: str) -> None:
        self._require_parked(who_and_why)

    @discard_now.validator
    def _may_be_discarded(self, who_and_why: str) -> None:
        self._require_parked(who_and_why)

    async def until_settled(
        self, attempt: Callable[[], Awaitable[Settled | Parked]]
    ) -> Settled | None:
        """Try until it settles, parked in between; None when a person has given it up.

        A wake-up that comes during a try is kept for another try: what it announces may have
        happened after that try looked.
        """
        while True:
            self._wake = False
            outcome = await self._or_parked(attempt)
            if not isinstance(outcome, Parked):
                return outcome
            self._park(outcome)
            await self._wait(outcome)
            if self._discarded_by is not None:
                return None

    async def close(
        self, state: BillingState, org_id: str | None = None, amount: Money | None = None
    ) -> None:
        """Show that it is done, and let those who wait for an answer have it."""
        show_done(state, org_id, amount, was_parked=self._parked is not None)
        if self._parked is not None:
            workflow.set_current_details(f"## {state.capitalize()}\nIt had {self._standing}")
        self._standing = state
        self._answers += 1
        await workflow.wait_condition(workflow.all_handlers_finished)

    def go_on(self) -> None:
        """Show that it runs again, if it was parked: for a process whose tries take long."""
        if self._parked is not None:
            show_running()
            self._parked, self._since = None, None
            self._standing = BillingState.RUNNING
            self._answers += 1

    def found_owner(self, org_id: str | None) -> None:
        """Remember whose it is, for what may park later without saying so."""
        self._org_id = org_id or self._org_id

    def is_long(self) -> bool:
        """Whether a wait must end because the process has to begin anew."""
        return False

    @property
    def discarded_by(self) -> str:
        """Who gave it up, and why."""
        return self._discarded_by or ""

    @property
    def _is_done(self) -> bool:
        return self._standing in (BillingState.SETTLED, BillingState.DISCARDED)

    def _require_parked(self, who_and_why: str) -> None:
        if not who_and_why.strip():
            raise ApplicationError("say who you are and why", type="invalid_decision")
        if self._parked is None or self._is_done:
            raise ApplicationError(f"it is not parked but {self._standing}", type="not_parked")

    def _park(self, parked: Parked) -> None:
        """Explain itself to operators; once, however often the same thing happens again."""
        self._attempts += 1
        self._answers += 1
        self._since = self._since or workflow.now()
        if parked == self._parked:
            return
        self._parked = parked
        self._standing = f"parked: {parked.reason}: {parked.happened}"
        info = workflow.info()
        show_parked(parked, self._since)
        workflow.set_current_details(
            describe(parked, info.workflow_id, self._since, info.namespace)
        )

    async def _or_parked(
        self, attempt: Callable[[], Awaitable[Settled | Parked]]
    ) -> Settled | Parked:
        """A refusal parks under its own code; whatever else outlasted its retries is a fault."""
        try:
            return await attempt()
        except ActivityError as failure:
            if is_cancelled_exception(failure):
                raise
            return self.why(failure)

    def why(self, failure: ActivityError) -> Parked:
        """Say why a step that failed makes this process wait."""
        cause, step = failure.cause, failure.activity_type
        if isinstance(cause, ApplicationError) and cause.non_retryable and cause.type:
            return Parked(cause.type, f"{step}: {cause.message}.", self._org_id)
        return Parked(FAULT, f"{step} failed three times: {cause}.", self._org_id)

    async def _wait(self, parked: Parked) -> None:
        """Wait to be woken; a reason that goes away by itself wakes it, ever more slowly."""
        timeout = patience(parked, self._attempts - 1, workflow.now())
        try:
            await workflow.wait_condition(
                lambda: self._wake or self._discarded_by is not None or self.is_long(),
                timeout=timeout,
                timeout_summary=f"parked ({parked.reason}); looks again by itself",
            )
        except TimeoutError:
            return
