"""Nothing fails, it parks: visible, explaining itself, waiting for a person or for better times."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from activities.parking.decisions import DecisionActivities, Said
from activities.temporal.search_attributes import BillingState
from billing.ledger.money import Money
from billing.parking.parked import FAULT, MISSING, Parked, is_refusal, patience
from billing.parking.parked_work import DecisionRecord, Verdict, said
from workflows.shared import visibility
from workflows.shared.decision_answer import DecisionAnswer
from workflows.shared.options import PATIENT

Settled = TypeVar("Settled")
# What people say may be long, and a payload must not be.
_WRITTEN_AT_ONCE = 200


class Parking:
    """What every process about money has: it can wait, be reprocessed, and be given up.

    Signals serve the UI and many at once; updates serve one, with an answer. Who and why is written
    down before it is acted on. A run that began anew is parked as the last one was.
    """

    def __init__(self) -> None:
        note = visibility.noted()
        self._parked: Parked | None = note.parked if note else None
        self._since: datetime | None = note.since if note else None
        self._state = BillingState.PARKED if note else BillingState.RUNNING
        self._org_id: str | None = None
        self._attempts = 0
        self._is_trying = False
        self._answers = 0
        self._wake = False
        self._times_reprocessed = 0
        self._discarded_by: str | None = None
        self._unwritten: list[DecisionRecord] = []
        self._said_times = 0
        if note is not None:
            visibility.explain_wait(note.parked, note.since)

    @workflow.signal(description="Try again now. One string: who you are and why.")
    def reprocess(self, who_and_why: str = "") -> None:
        """Try again now, or once more after the try that is under way."""
        if self._hear(Verdict.REPROCESS, who_and_why):
            self._times_reprocessed += 1
            self.wake()

    @workflow.signal(description="Give it up for good. One string: who you are and why.")
    def discard(self, who_and_why: str = "") -> None:
        """Give up, unless the try that is under way succeeds."""
        if who := self._hear(Verdict.DISCARD, who_and_why):
            self._discarded_by = who

    @workflow.signal(description="There is something new for it: another process says so.")
    def wake_up(self, why: str) -> None:
        """Try again, without anybody having decided anything."""
        workflow.logger.debug("woken up: %s", why)
        self.wake()

    @workflow.update(name="reprocess", description="Try again now; answers with what came of it.")
    async def reprocess_now(self, who_and_why: str) -> DecisionAnswer:
        """Try again now; return what came of it, and not of a try that had begun before."""
        is_trying = self._is_trying and workflow.patched("answers-by-a-try-of-its-own")
        before = self._answers
        self.reprocess(who_and_why)
        await workflow.wait_condition(lambda: self._answers > before)
        if is_trying and self.is_parked:
            await workflow.wait_condition(lambda: self._answers > before + 1)
        return self.answer

    @workflow.update(name="discard", description="Give it up for good; answers when it is done.")
    async def discard_now(self, who_and_why: str) -> DecisionAnswer:
        """Give up; return what came of it."""
        self.discard(who_and_why)
        await workflow.wait_condition(lambda: self.is_done)
        return self.answer

    @reprocess_now.validator
    def _may_be_reprocessed(self, who_and_why: str) -> None:
        self.require_parked(who_and_why)

    @discard_now.validator
    def _may_be_discarded(self, who_and_why: str) -> None:
        self.require_parked(who_and_why)

    async def until_settled(
        self, attempt: Callable[[], Awaitable[Settled | Parked]]
    ) -> Settled | None:
        """Try until it settles, parked in between; None when a person has given it up.

        A wake-up during a try is kept for another: its news may be younger than what was looked at.
        """
        while True:
            await self._write_down()
            self._wake = False
            outcome = await self._or_parked(attempt)
            if not isinstance(outcome, Parked):
                return outcome
            self._park(outcome)
            await self._wait(outcome)
            if self.is_discarded:
                await self._write_down()
                return None

    async def close(
        self, state: BillingState, org_id: str | None = None, amount: Money | None = None
    ) -> None:
        """Show that it is done, and let those who wait for an answer have it."""
        await self._write_down()
        visibility.show_done(state, org_id, amount, was_parked=self.is_parked)
        waited = str(self.answer) if self.is_parked else None
        visibility.explain_end(state, org_id or self._org_id, amount, waited)
        self._state, self._parked, self._since = state, None, None
        self._answers += 1
        await self._leave_nothing()

    def wake(self) -> None:
        """Have it try again now, or once more after the try that is under way."""
        self._wake = True

    def forget_attempts(self) -> None:
        """Wait as short as at first, should it park again: something has gone through."""
        self._attempts = 0

    def go_on(self) -> None:
        """Show that it runs again, if it does not: for a process whose tries take long."""
        if self._state is not BillingState.RUNNING:
            visibility.show_running()
            self._state, self._parked, self._since = BillingState.RUNNING, None, None
            self._answers += 1

    def take_up_again(self) -> None:
        """Forget that it was given up: what comes now is another matter."""
        self._discarded_by = None

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
        if not self.is_discarded and workflow.info().is_continue_as_new_suggested():
            self._answers += 1
            await self._leave_nothing()
            return not self.is_discarded
        return False

    @property
    def is_awake(self) -> bool:
        """Whether it was woken since the last try began."""
        return self._wake

    @property
    def is_parked(self) -> bool:
        """Whether it waits, and shows why."""
        return self._parked is not None

    @property
    def is_discarded(self) -> bool:
        """Whether a person has given it up; the try that is under way may yet succeed."""
        return self._discarded_by is not None

    @property
    def is_done(self) -> bool:
        """Whether it shows that nothing more comes of it."""
        return self._state in (BillingState.SETTLED, BillingState.DISCARDED)

    @property
    def discarded_by(self) -> str:
        """Who gave it up, and why."""
        return self._discarded_by or ""

    @property
    def times_reprocessed(self) -> int:
        """How often a person has had this run tried again."""
        return self._times_reprocessed

    @property
    def answers(self) -> int:
        """How often those who wait for an answer could have had one."""
        return self._answers

    @property
    def answer(self) -> DecisionAnswer:
        """What those who wait for an answer are told by now."""
        return DecisionAnswer(self._state, self._parked)

    def require_parked(self, who_and_why: str) -> None:
        """Raise ApplicationError unless it waits, and somebody says who they are and why."""
        if not who_and_why.strip():
            raise ApplicationError("say who you are and why", type="invalid_decision")
        if not self.is_parked:
            raise ApplicationError(f"it is not parked but {self._state}", type="not_parked")

    def _hear(self, verdict: Verdict, who_and_why: str) -> str:
        """Keep what a person has said; who does not even say who they are has said nothing."""
        who = said(who_and_why)
        if not who:
            workflow.logger.warning("told to %s, not by whom or why: nothing was done", verdict)
            return ""
        workflow.logger.info("told to %s: %s", verdict, who)
        self._said_times += 1
        self._unwritten.append(self._as_record(verdict, who))
        visibility.count("callwallet_decisions", verdict=verdict)
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
        visibility.explain_wait(parked, self._since)
        if parked == self._parked:
            return
        if self._parked is None or self._parked.reason != parked.reason:
            process = workflow.info().workflow_type
            visibility.count("callwallet_parks", process=process, reason=parked.reason)
        self._state, self._parked = BillingState.PARKED, parked
        visibility.show_parked(parked, self._since)

    async def _or_parked(
        self, attempt: Callable[[], Awaitable[Settled | Parked]]
    ) -> Settled | Parked:
        """A refusal parks under its own code; whatever else outlasted its retries is a fault."""
        self._is_trying = True
        try:
            return await attempt()
        except ActivityError as failure:
            if is_cancelled_exception(failure):
                raise
            return self.why(failure)
        finally:
            self._is_trying = False

    def why(self, failure: ActivityError) -> Parked:
        """Return why a step that failed makes this process wait: a refusal, or else a fault."""
        cause, step = failure.cause, failure.activity_type
        code = (isinstance(cause, ApplicationError) and cause.type) or ""
        if isinstance(cause, ApplicationError) and is_refusal(code, is_final=cause.non_retryable):
            return Parked(code, f"{step}: {cause.message}.", self._org_id)
        return Parked(FAULT, f"{step} failed three times: {cause}.", self._org_id)

    async def _wait(self, parked: Parked) -> None:
        """Wait to be woken; a reason that goes away by itself wakes it, ever more slowly."""
        timeout = patience(parked, self._attempts - 1, workflow.now())
        if parked.reason in MISSING and not workflow.patched("missing-heals"):
            timeout = None
        try:
            await workflow.wait_condition(
                lambda: self.is_awake or self.is_discarded or self.is_long(),
                timeout=timeout,
                timeout_summary=f"parked ({parked.reason}); looks again by itself",
            )
        except TimeoutError:
            return
