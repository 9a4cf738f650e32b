"""Nothing fails, it parks: visible, explaining itself, waiting for a person or for better times."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from activities.attributes import BillingState
from activities.decisions import DecisionActivities, Said
from billing.money import Money
from billing.parked import DecisionRecord, Verdict, said
from billing.parking import FAULT, Parked, describe, patience
from workflows.attributes import noted, show_done, show_parked, show_running
from workflows.options import PATIENT

Settled = TypeVar("Settled")
# What people say may be long, and a payload must not be.
_WRITTEN_AT_ONCE = 200


class Parking:
    """What every process about money has: it can wait, be reprocessed, and be given up.

    Signals serve the UI and many at once (`temporal workflow signal --query …`); updates serve one,
    with an answer. Who and why is written down in PostgreSQL before it is acted on: while that is
    away, what people say is heard, and waits. A run that began anew is parked as the last one was.
    """

    def __init__(self) -> None:
        note = noted()
        self._parked: Parked | None = note.parked if note else None
        self._since: datetime | None = note.since if note else None
        self._standing = _standing(self._parked) if self._parked else str(BillingState.RUNNING)
        self._org_id: str | None = None
        self._attempts = 0
        self._answers = 0
        self._wake = False
        self._reprocessed_by: str | None = None
        self._discarded_by: str | None = None
        self._unwritten: list[DecisionRecord] = []
        self._said_times = 0
        if note is not None:
            _explain(note.parked, note.since)

    @workflow.signal(description="Try again now. One string: who you are and why.")
    def reprocess(self, who_and_why: str = "") -> None:
        """Try again now, or once more after the try that is under way."""
        if who := self._hear(Verdict.REPROCESS, who_and_why):
            self._reprocessed_by = who
            self._wake = True

    @workflow.signal(description="Give it up for good. One string: who you are and why.")
    def discard(self, who_and_why: str = "") -> None:
        """Give up, unless the try that is under way succeeds."""
        if who := self._hear(Verdict.DISCARD, who_and_why):
            self._discarded_by = who

    @workflow.signal(description="There is something new for it: another process says so.")
    def wake_up(self, why: str) -> None:
        """Try again, without anybody having decided anything."""
        workflow.logger.debug("woken up: %s", why)
        self._wake = True

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
            await self._write_down()
            self._wake = False
            outcome = await self._or_parked(attempt)
            if not isinstance(outcome, Parked):
                return outcome
            self._park(outcome)
            await self._wait(outcome)
            if self._discarded_by is not None:
                await self._write_down()
                return None

    async def close(
        self, state: BillingState, org_id: str | None = None, amount: Money | None = None
    ) -> None:
        """Show that it is done, and let those who wait for an answer have it."""
        await self._write_down()
        show_done(state, org_id, amount, was_parked=self._parked is not None)
        if self._parked is not None:
            workflow.set_current_details(f"## {state.capitalize()}\nIt had {self._standing}")
        self._standing = state
        self._answers += 1
        await self._leave_nothing()

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

    async def may_begin_anew(self) -> bool:
        """Whether the history is long, and nothing is left that would be forgotten with it.

        What a person has given up does not begin anew: the next run would know nothing of that.
        """
        if self._discarded_by is None and workflow.info().is_continue_as_new_suggested():
            self._answers += 1
            await self._leave_nothing()
            return self._discarded_by is None
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

    def _hear(self, verdict: Verdict, who_and_why: str) -> str:
        """Keep what a person has said; who does not even say who they are has said nothing."""
        who = said(who_and_why)
        if not who:
            workflow.logger.warning("told to %s, not by whom or why: nothing was done", verdict)
            return ""
        workflow.logger.info("told to %s: %s", verdict, who)
        self._said_times += 1
        self._unwritten.append(self._as_record(verdict, who))
        _count("callwallet_decisions", verdict=verdict)
        return who

    def _as_record(self, verdict: Verdict, who: str) -> DecisionRecord:
        info, parked = workflow.info(), self._parked
        return DecisionRecord(
            workflow_id=info.workflow_id,
            run_id=info.run_id,
            number=self._said_times,
            verdict=verdict,
            who_and_why=who,
            org_id=(parked.org_id if parked else None) or self._org_id,
            reason=parked.reason if parked else None,
            decided_at=workflow.now(),
        )

    async def _write_down(self) -> None:
        """Write down what was said; what is said meanwhile, as well."""
        while self._unwritten:
            portion = tuple(self._unwritten[:_WRITTEN_AT_ONCE])
            await workflow.execute_activity_method(
                DecisionActivities.record_decisions,
                Said(portion),
                summary="write down who and why",
                **PATIENT,
            )
            del self._unwritten[: len(portion)]

    async def _leave_nothing(self) -> None:
        """Answer who waits for an answer, and write down what is said up to the last moment."""
        while self._unwritten or not workflow.all_handlers_finished():
            await self._write_down()
            await workflow.wait_condition(workflow.all_handlers_finished)

    def _park(self, parked: Parked) -> None:
        """Explain itself to operators; once, however often the same thing happens again."""
        self._attempts += 1
        self._answers += 1
        self._since = self._since or workflow.now()
        _explain(parked, self._since)
        if parked == self._parked:
            return
        if self._parked is None or self._parked.reason != parked.reason:
            process = workflow.info().workflow_type
            _count("callwallet_parks", process=process, reason=parked.reason)
        self._parked = parked
        self._standing = _standing(parked)
        show_parked(parked, self._since)

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


def _explain(parked: Parked, since: datetime) -> None:
    info = workflow.info()
    workflow.set_current_details(describe(parked, info.workflow_id, since, info.namespace))


def _standing(parked: Parked) -> str:
    return f"{BillingState.PARKED}: {parked.reason}: {parked.happened}"


def _count(name: str, **labels: str) -> None:
    """Count in the worker's metrics; not again when the history is replayed."""
    workflow.metric_meter().create_counter(name).add(1, labels)
