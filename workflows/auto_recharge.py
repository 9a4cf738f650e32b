"""A wallet is short: charge its saved card, once, or wait visibly until that makes sense."""

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from activities.payments.stripe_saved_cards import SavedCards
from activities.recharges.recharges import (
    Link,
    Question,
    RechargeActivities,
    RechargePlan,
    RefusedCharge,
    Result,
)
from activities.recharges.stripe_pages import Asking, Look, PageActivities
from activities.temporal.search_attributes import BillingState
from billing.errors import NoSavedCard
from billing.inbox.webhook_event import PaymentHint
from billing.parking.parked import Parked
from billing.parking.recharges import asked, refused, unknown, unsent
from billing.recharges.attempt import (
    ABANDONED,
    NOT_SENT,
    Attempt,
    AttemptState,
    ChargeOutcome,
    SavedCard,
    arrives_until,
    customers_deadline,
    given_up,
    may_be_sent,
    withdrawn,
)
from billing.recharges.recharge import HoldReason, RechargeStep
from workflows.settle_payment import look_again_at
from workflows.shared.alert_requests import deliver_alerts
from workflows.shared.card_charges import charge, look_up
from workflows.shared.options import DATABASE, PATIENT, PROVIDER
from workflows.shared.parking import Parking
from workflows.shared.visibility import shown


@workflow.defn
class AutoRecharge(Parking):
    """One organisation's recharges, one at a time; it ends when no money is short.

    What it knows is in the database: it can be killed or lost at every step, and whoever comes next
    finishes the attempt that was written down.
    """

    def __init__(self) -> None:
        super().__init__()
        self._look = True
        self._is_new_since_discarded = False
        self._times_lifted = 0
        # What the last decision would have charged, if a person approved it.
        self._approvable_minor = 0

    @workflow.signal(description="The balance is below the threshold, or could not pay a call.")
    def crossed(self, why: str) -> None:
        """Look (again), unless it waits: what keeps the card from being charged is no other."""
        self._ask_for_a_look(why)

    @workflow.signal(description="Settings, money, a card or a dispute are not what they were.")
    def changed(self, why: str) -> None:
        """Look (again), also if it waits."""
        self._ask_for_a_look(why)
        self.wake()

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
                self._look, self._is_new_since_discarded = self._is_new_since_discarded, False
                await self._end(BillingState.DISCARDED, org_id)
                self.take_up_again()
            elif not self._look:
                await self._end(BillingState.SETTLED, org_id)

    async def _end(self, state: BillingState, org_id: str) -> None:
        """Close. Nobody keeps a signal that comes meanwhile: after the last wait, it is acted on.

        What was asked for before a person gave it up is given up with it.
        """
        await self.close(state, org_id)
        if self._look and workflow.patched("goes-on-after-close"):
            self.go_on()

    def _ask_for_a_look(self, why: str) -> None:
        workflow.logger.debug("asked to look again: %s", why)
        self._look = True
        self._is_new_since_discarded = self.is_discarded

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
            if plan.decision.step is RechargeStep.NOTHING:
                return True
            if plan.parked is not None:
                await self._have_told(plan.parked)
                return plan.parked
            if plan.attempt is not None and (waits := await self._pursue(plan, plan.attempt)):
                return waits

    @property
    def _lift_requested(self) -> bool:
        """Whether a person has said reprocess since a suspension or cool-down was last ended."""
        return self.times_reprocessed > self._times_lifted

    async def _have_told(self, parked: Parked) -> None:
        """Have told what a decision has found; whatever else holds a recharge was told before."""
        if parked.reason in (HoldReason.NO_SAVED_CARD, HoldReason.RECHARGE_ABOVE_CAP):
            await deliver_alerts()

    async def _plan(self, org_id: str) -> RechargePlan:
        """Decide what comes next; a card is looked for only when one is needed.

        Who says reprocess while that is being decided is heard by the next plan.
        """
        asked, lift = self.times_reprocessed, self._lift_requested
        approved = self._approvable_minor if lift else 0
        plan = await self._decide(Question(org_id, workflow.now(), None, lift, approved))
        self._times_lifted = asked
        if plan.decision.step is RechargeStep.FIND_CARD:
            saved = await self._find_card(org_id)
            plan = await self._decide(Question(org_id, workflow.now(), saved, False, approved))
        is_held, amount = plan.decision.step is RechargeStep.HOLD, plan.decision.amount
        self._approvable_minor = amount.amount_minor if is_held and amount else 0
        return plan

    async def _decide(self, question: Question) -> RechargePlan:
        return await workflow.execute_activity_method(
            RechargeActivities.plan_recharge, question, summary="decide what comes next", **DATABASE
        )

    async def _find_card(self, org_id: str) -> SavedCard:
        return await workflow.execute_activity_method(
            SavedCards.find_card, org_id, summary="find the saved card", **PROVIDER
        )

    async def _pursue(self, plan: RechargePlan, attempt: Attempt) -> Parked | None:
        """Take an attempt one step further; None when that is recorded, and there may be more."""
        if attempt.state is AttemptState.REQUIRES_ACTION:
            return await self._ask(attempt, plan)
        self.go_on()
        outcome = await self._outcome(plan, attempt)
        if outcome.refused_for is not None:
            return await self._have_mended(attempt, outcome, outcome.refused_for)
        if outcome.state is AttemptState.OPEN:
            return unsent(attempt) if outcome.is_unsent else unknown(attempt)
        await self._record(attempt, outcome)
        return None

    async def _outcome(self, plan: RechargePlan, attempt: Attempt) -> ChargeOutcome:
        """Charge; an attempt that somebody has begun is looked up first, and only then sent.

        What is not sent any more is given up, if nothing of it could arrive after that look.
        """
        if plan.decision.step is RechargeStep.CHARGE:
            return await charge(attempt)
        looked_at = workflow.now()
        found = await look_up(attempt)
        if found.state is not AttemptState.OPEN or found.payment_id is not None:
            return found
        if may_be_sent(attempt, workflow.now()):
            outcome = await charge(attempt)
            if not outcome.is_unsent:
                return outcome
        return NOT_SENT if looked_at < arrives_until(attempt) else ABANDONED

    async def _have_mended(
        self, attempt: Attempt, outcome: ChargeOutcome, refused_for: str
    ) -> Parked:
        """Tell operators that our request is refused, and wait; another try may be another attempt.

        The fault is ours. So it is no decline, nothing cools down, and no customer hears of it.
        """
        told = await workflow.execute_activity_method(
            RechargeActivities.record_refusal,
            RefusedCharge(attempt, refused_for),
            summary="record that the request is refused",
            **PATIENT,
        )
        if outcome.state is AttemptState.ABANDONED:
            await self._record(attempt, outcome)
        if told:
            await deliver_alerts()
        return refused(attempt, refused_for)

    async def _ask(self, attempt: Attempt, plan: RechargePlan) -> Parked | None:
        """Have the customer confirm it on a page at Stripe, by a deadline; or give up.

        What is not due any more is not asked for either: its page is closed, or never opened.
        """
        if not plan.is_due and workflow.patched("decides-a-page-anew"):
            return await self._withdraw(attempt)
        return_url, now, deadline = plan.return_url, workflow.now(), customers_deadline(attempt)
        if attempt.link is None and (return_url is None or now >= deadline):
            await self._record(attempt, await _given_up(attempt))
            return None
        if attempt.link is None:
            return await self._open_page(attempt, return_url or "")
        outcome = await _look(attempt, is_over=now >= deadline)
        if outcome.state is AttemptState.REQUIRES_ACTION:
            return asked(attempt)
        if outcome.state is AttemptState.OPEN:
            return unknown(attempt)
        await self._record(attempt, outcome)
        return None

    async def _withdraw(self, attempt: Attempt) -> Parked | None:
        """Close the page, if there is one, and give up; what was paid before that is paid."""
        is_shown = attempt.link is not None
        outcome = await (_look(attempt, is_over=True) if is_shown else _given_up(attempt))
        if outcome.state is AttemptState.OPEN:
            return unknown(attempt)
        await self._record(attempt, withdrawn(outcome))
        return None

    async def _open_page(self, attempt: Attempt, return_url: str) -> Parked | None:
        page = await workflow.execute_activity_method(
            PageActivities.ask_customer,
            Asking(attempt, return_url),
            summary="open a page for the customer",
            **PROVIDER,
        )
        if page.outcome is not None:
            await self._record(attempt, page.outcome)
            return None
        shown = await workflow.execute_activity_method(
            RechargeActivities.record_link, Link(attempt, page.session_id, page.url), **PATIENT
        )
        await deliver_alerts()
        return asked(shown)

    async def _record(self, attempt: Attempt, outcome: ChargeOutcome) -> None:
        """Record what became of it. A failure may have been told although this answer was lost."""
        told = await workflow.execute_activity_method(
            RechargeActivities.record_recharge,
            Result(attempt, outcome, workflow.now()),
            summary=f"record: {outcome.state} {outcome.code or ''}".strip(),
            **PATIENT,
        )
        if outcome.state is not AttemptState.ABANDONED:
            self.forget_attempts()
        if told or outcome.state is AttemptState.DECLINED:
            await deliver_alerts()

    async def _begin_anew_if_long(self, org_id: str) -> None:
        """Begin anew with what is in the database; what a person has asked for comes first."""
        if self._lift_requested or not await self.may_begin_anew():
            return
        if not self._lift_requested:
            workflow.continue_as_new(org_id, **shown())


async def _look(attempt: Attempt, *, is_over: bool) -> ChargeOutcome:
    """Look at the page of an attempt; close it if its time is over."""
    return await workflow.execute_activity_method(
        PageActivities.look_at_page,
        Look(attempt, is_over=is_over),
        summary="has the customer paid?",
        **PROVIDER,
    )


async def _given_up(attempt: Attempt) -> ChargeOutcome:
    """Give up what nobody confirms, unless it was paid in the meantime."""
    if not workflow.patched("looks-before-giving-up"):
        return given_up(attempt)
    return await workflow.execute_activity_method(
        PageActivities.give_up_charge,
        attempt,
        summary="cancel it, unless it was paid",
        **PROVIDER,
    )
