"""A wallet is short: charge its saved card, once, or wait visibly until that makes sense."""

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from activities.attributes import BillingState
from activities.recharge import Link, Plan, Question, RechargeActivities, Result
from activities.stripe_charges import REPLAYED, Asking, ChargeActivities, Look
from billing.attempt import (
    Attempt,
    AttemptState,
    Outcome,
    SavedCard,
    customers_deadline,
    given_up,
    may_be_sent,
)
from billing.errors import NoSavedCard
from billing.parking import Parked
from billing.recharge import HoldReason, Step
from billing.recharge_notes import asked, unknown
from billing.webhook import PaymentHint
from workflows.attributes import shown
from workflows.deliver_alerts import deliver_alerts
from workflows.options import DATABASE, ONCE, PATIENT, PROVIDER
from workflows.parking import Parking
from workflows.settle_payment import look_again_at


@workflow.defn
class AutoRecharge(Parking):
    """One organisation's recharges, one at a time; it ends when no money is short.

    What it knows is in the database: it can be killed or lost at every step, and whoever comes next
    finishes the attempt that was written down.
    """

    def __init__(self) -> None:
        super().__init__()
        self._look = True

    @workflow.signal(description="The balance is below the threshold, or could not pay a call.")
    def crossed(self, why: str) -> None:
        """Look (again), unless it waits: what keeps the card from being charged is no other."""
        workflow.logger.debug("asked to look again: %s", why)
        self._look = True

    @workflow.signal(description="Settings, money, a card or a dispute are not what they were.")
    def changed(self, why: str) -> None:
        """Look (again), also if it waits."""
        workflow.logger.debug("asked to look again: %s", why)
        self._look = self._wake = True

    @workflow.update(description="Answers when there is a saved card; refused when there is none.")
    async def require_card(self, org_id: str) -> None:
        """Look for a saved card; fails with the code of a refusal when there is none."""
        if (await self._find_card(org_id)).card is None:
            raise ApplicationError(f"Stripe has no card of {org_id}", type=NoSavedCard.code)

    @workflow.run
    async def run(self, org_id: str) -> None:
        """Recharge until nothing is short; what was signalled meanwhile is looked at as well."""
        self.found_owner(org_id)
        while self._look:
            self._look = False
            if await self.until_settled(lambda: self._recharge(org_id)) is None:
                await self.close(BillingState.DISCARDED, org_id)
                return
        await self.close(BillingState.SETTLED, org_id)

    def is_long(self) -> bool:
        """Whether so many calls have knocked while it waited that it has to begin anew."""
        return workflow.info().is_continue_as_new_suggested()

    async def _recharge(self, org_id: str) -> bool | Parked:
        """Do what comes next until nothing does, or something has to be waited for."""
        while True:
            await self._begin_anew_if_long(org_id)
            plan = await self._plan(org_id)
            for payment_id in plan.uncredited:
                await look_again_at(PaymentHint(payment_id, f"recharge of {org_id}"))
            if plan.decision.step is Step.NOTHING:
                return True
            if plan.parked is not None:
                await self._have_told(plan.parked)
                return plan.parked
            if plan.attempt is not None and (waits := await self._pursue(plan, plan.attempt)):
                return waits

    async def _have_told(self, parked: Parked) -> None:
        """Have it told that there is no card; whatever else holds a recharge was told before."""
        if parked.reason == HoldReason.NO_SAVED_CARD:
            await deliver_alerts()

    async def _plan(self, org_id: str) -> Plan:
        """Decide what comes next; a card is looked for only when one is needed."""
        question = Question(org_id, workflow.now(), lift=self._reprocessed_by is not None)
        plan = await self._decide(question)
        self._reprocessed_by = None
        if plan.decision.step is not Step.FIND_CARD:
            return plan
        saved = await self._find_card(org_id)
        return await self._decide(Question(org_id, workflow.now(), saved))

    async def _decide(self, question: Question) -> Plan:
        return await workflow.execute_activity_method(
            RechargeActivities.plan_recharge, question, summary="decide what comes next", **DATABASE
        )

    async def _find_card(self, org_id: str) -> SavedCard:
        return await workflow.execute_activity_method(
            ChargeActivities.find_card, org_id, summary="find the saved card", **PROVIDER
        )

    async def _pursue(self, plan: Plan, attempt: Attempt) -> Parked | None:
        """Take an attempt one step further; None when that is recorded, and there may be more."""
        if attempt.state is AttemptState.REQUIRES_ACTION:
            return await self._ask(attempt, plan.return_url)
        self.go_on()
        outcome = await self._outcome(plan, attempt)
        if outcome.state is AttemptState.OPEN:
            return unknown(attempt)
        await self._record(attempt, outcome)
        return None

    async def _outcome(self, plan: Plan, attempt: Attempt) -> Outcome:
        """Charge; an attempt that somebody has begun is looked up first, and only then sent."""
        if plan.decision.step is Step.CHARGE:
            return await self._charge(attempt)
        found = await self._look_up(attempt)
        if found.state is not AttemptState.OPEN or found.payment_id is not None:
            return found
        if not may_be_sent(attempt, workflow.now()):
            return Outcome(AttemptState.ABANDONED)
        return await self._charge(attempt)

    async def _charge(self, attempt: Attempt) -> Outcome:
        """Send it once. Without an answer it is looked up, and what is not there may yet come.

        Unless Stripe repeats a failure that is over: then what is not there never was.
        """
        try:
            return await workflow.execute_activity_method(
                ChargeActivities.charge_card, attempt, summary=f"charge {attempt.amount}", **ONCE
            )
        except ActivityError as failure:
            if is_cancelled_exception(failure):
                raise
            found = await self._look_up(attempt)
            if found == Outcome(AttemptState.OPEN) and _is_over(failure):
                return Outcome(AttemptState.ABANDONED)
            return found

    async def _look_up(self, attempt: Attempt) -> Outcome:
        return await workflow.execute_activity_method(
            ChargeActivities.look_up_charge, attempt, summary="is it at Stripe?", **PROVIDER
        )

    async def _ask(self, attempt: Attempt, return_url: str | None) -> Parked | None:
        """Have the customer confirm it on a page at Stripe, by a deadline; or give up."""
        now, deadline = workflow.now(), customers_deadline(attempt)
        if attempt.link is None and (return_url is None or now >= deadline):
            await self._record(attempt, given_up(attempt))
            return None
        if attempt.link is None:
            return asked(await self._open_page(attempt, return_url or ""))
        outcome = await workflow.execute_activity_method(
            ChargeActivities.look_at_page,
            Look(attempt, is_over=now >= deadline),
            summary="has the customer paid?",
            **PROVIDER,
        )
        if outcome.state is AttemptState.REQUIRES_ACTION:
            return asked(attempt)
        if outcome.state is AttemptState.OPEN:
            return unknown(attempt)
        await self._record(attempt, outcome)
        return None

    async def _open_page(self, attempt: Attempt, return_url: str) -> Attempt:
        page = await workflow.execute_activity_method(
            ChargeActivities.ask_customer,
            Asking(attempt, return_url),
            summary="open a page for the customer",
            **PROVIDER,
        )
        shown = await workflow.execute_activity_method(
            RechargeActivities.record_link, Link(attempt, page.session_id, page.url), **PATIENT
        )
        await deliver_alerts()
        return shown

    async def _record(self, attempt: Attempt, outcome: Outcome) -> None:
        """Record what became of it. A failure may have been told although this answer was lost."""
        told = await workflow.execute_activity_method(
            RechargeActivities.record_recharge,
            Result(attempt, outcome, workflow.now()),
            summary=f"record: {outcome.state} {outcome.code or ''}".strip(),
            **PATIENT,
        )
        self._attempts = 0
        if told or outcome.state is AttemptState.DECLINED:
            await deliver_alerts()

    async def _begin_anew_if_long(self, org_id: str) -> None:
        """Begin anew with what is in the database; what a person has asked for comes first."""
        if self._reprocessed_by is None and await self.may_begin_anew():
            workflow.continue_as_new(org_id, **shown())


def _is_over(failure: ActivityError) -> bool:
    cause = failure.cause
    return isinstance(cause, ApplicationError) and cause.type == REPLAYED
