"""Auto-recharge in PostgreSQL: decide, record attempts, and record what became of them."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from billing.alerts.recharges import (
    above_cap_alert,
    failure_alert,
    link_alert,
    no_card_alert,
    recovery_alert,
    refusal_alert,
    suspension_alert,
)
from billing.parking.parked import Parked
from billing.parking.recharges import held
from billing.platform_rules import PlatformRules
from billing.recharges.attempt import (
    Attempt,
    AttemptState,
    Card,
    ChargeOutcome,
    SavedCard,
    customers_deadline,
)
from billing.recharges.history import RechargeHistory, Suspension
from billing.recharges.recharge import (
    HoldReason,
    RechargeDecision,
    RechargeStep,
    decide,
    is_still_due,
    suspension_after,
)
from store.alerts import alerts
from store.ledger import wallets
from store.recharges import recharge_settings, recharges


@dataclass(frozen=True, slots=True)
class Question:
    """Whose recharge is to be decided, when, and with which card if somebody has looked for one.

    `lift` ends a suspension or a cool-down first, because a person asked for that. A person has
    also approved a charge of up to `approved_minor`, though it is above the caps of a card.
    """

    org_id: str
    now: datetime
    saved: SavedCard | None = None
    lift: bool = False
    approved_minor: int = 0

    @property
    def card(self) -> Card | None:
        """The card that was found, if any was."""
        return self.saved.card if self.saved else None


@dataclass(frozen=True, slots=True)
class RechargePlan:
    """What comes next, for which attempt, and the payments that are still to be credited.

    `return_url` is where customers go back to from the page on which they confirm a payment.
    `is_due` says whether an attempt that is under way would be decided now as it was.
    """

    decision: RechargeDecision
    attempt: Attempt | None = None
    parked: Parked | None = None
    uncredited: tuple[str, ...] = ()
    return_url: str | None = None
    is_due: bool = True


@dataclass(frozen=True, slots=True)
class Result:
    """What became of an attempt, as far as it is known, and when it became known."""

    attempt: Attempt
    outcome: ChargeOutcome
    now: datetime


@dataclass(frozen=True, slots=True)
class Link:
    """A page at Stripe on which the customer can pay what an attempt could not."""

    attempt: Attempt
    session_id: str
    url: str


@dataclass(frozen=True, slots=True)
class RefusedCharge:
    """A charge that Stripe refused as a request, and why: the fault is ours, not the customer's."""

    attempt: Attempt
    why: str


class RechargeActivities:
    """Activities that decide about recharges and record them."""

    def __init__(self, engine: AsyncEngine, rules: PlatformRules) -> None:
        self._engine = engine
        self._rules = rules

    @activity.defn
    async def plan_recharge(self, question: Question) -> RechargePlan:
        """Decide what comes next. A charge is recorded in the transaction that decides on it.

        If the answer is lost, the next question finds the recorded attempt, and is answered to
        finish that.
        """
        async with self._engine.begin() as connection:
            wallet = (await wallets.lock(connection, [question.org_id])).get(question.org_id)
            if wallet is None:
                return RechargePlan(RechargeDecision(RechargeStep.NOTHING))
            if question.lift:
                await recharge_settings.lift(connection, question.org_id)
            card = question.card
            history = await recharges.history(
                connection, wallet, question.now, card.fingerprint if card else None
            )
            return await _plan(connection, history, question, self._rules)

    @activity.defn
    async def record_recharge(self, result: Result) -> bool:
        """Record what became of an attempt, once; return whether an alert was stored."""
        attempt, outcome = result.attempt, result.outcome
        async with self._engine.begin() as connection:
            wallet = (await wallets.lock(connection, [attempt.org_id]))[attempt.org_id]
            changed = await recharges.change(
                connection,
                attempt.attempt_id,
                state=outcome.state,
                payment_id=outcome.payment_id or attempt.payment_id,
                code=outcome.code,
            )
            if changed is None:
                return False
            if outcome.state is AttemptState.SUCCEEDED:
                return await _succeeded(connection, changed)
            if outcome.state is not AttemptState.DECLINED:
                return False
            history = await recharges.history(connection, wallet, result.now)
            return await _declined(connection, history, changed, result)

    @activity.defn
    async def record_refusal(self, refusal: RefusedCharge) -> bool:
        """Record that our requests are refused; return whether an alert was stored."""
        alarm = _refusals(refusal.attempt.org_id)
        alert = refusal_alert(refusal.attempt, refusal.why)
        async with self._engine.begin() as connection:
            return await alerts.cross(connection, alarm, raised=True, alert=alert)

    @activity.defn
    async def record_link(self, link: Link) -> Attempt:
        """Record the page on which the customer can pay, and store an alert about it."""
        deadline = customers_deadline(link.attempt)
        async with self._engine.begin() as connection:
            changed = await recharges.change(
                connection,
                link.attempt.attempt_id,
                state=AttemptState.REQUIRES_ACTION,
                link=link.url,
                session_id=link.session_id,
                deadline=deadline,
            )
            if changed is None:
                return link.attempt
            await alerts.tell(connection, link_alert(changed))
        return changed


async def _plan(
    connection: AsyncConnection,
    history: RechargeHistory,
    question: Question,
    rules: PlatformRules,
) -> RechargePlan:
    decision = decide(
        history, question.saved, question.now, rules, approved_minor=question.approved_minor
    )
    attempt, card = history.under_way, question.card
    if decision.reason is HoldReason.NO_SAVED_CARD:
        alert = no_card_alert(question.org_id, question.now)
        await alerts.cross(connection, _alarm(question.org_id), raised=True, alert=alert)
    if decision.reason is HoldReason.RECHARGE_ABOVE_CAP:
        alert = above_cap_alert(question.org_id, decision.why, question.now)
        await alerts.cross(connection, _above_cap(question.org_id), raised=True, alert=alert)
    if decision.step is RechargeStep.CHARGE:
        await alerts.set_depths(connection, {_above_cap(question.org_id): 0})
    if decision.step is RechargeStep.CHARGE and decision.amount is not None and card is not None:
        if history.suspension is not None:
            await recharge_settings.lift(connection, question.org_id)
        attempt = await recharges.write_down(
            connection, question.org_id, decision.amount, card, question.now
        )
    return RechargePlan(
        decision,
        attempt,
        held(history, decision) if decision.step is RechargeStep.HOLD else None,
        tuple(one.payment_id for one in history.uncredited if one.payment_id),
        history.settings.return_url,
        attempt is None or is_still_due(history, attempt, SavedCard(attempt.card), question.now),
    )


async def _succeeded(connection: AsyncConnection, attempt: Attempt) -> bool:
    await recharge_settings.lift(connection, attempt.org_id)
    told = False
    for alarm in (_alarm(attempt.org_id), _refusals(attempt.org_id)):
        told |= await alerts.cross(connection, alarm, raised=False, alert=recovery_alert(attempt))
    return told


async def _declined(
    connection: AsyncConnection, history: RechargeHistory, attempt: Attempt, result: Result
) -> bool:
    """Suspend the card if that is due; return whether an alert was stored.

    People are alerted to the first failure, and when the card is not tried any more. Failures in
    between are nothing new to them.
    """
    suspended_for = suspension_after(history, attempt, result.outcome)
    if suspended_for is not None:
        fingerprint = attempt.card.fingerprint
        suspension = Suspension(suspended_for, result.now, fingerprint)
        await recharge_settings.suspend(connection, attempt.org_id, suspension)
    alert = failure_alert(history, attempt, suspended_for)
    is_first = await alerts.cross(connection, _alarm(attempt.org_id), raised=True, alert=alert)
    if is_first or suspended_for is None:
        return is_first
    return await alerts.tell(connection, suspension_alert(attempt, suspended_for))


def _alarm(org_id: str) -> str:
    return f"recharge/{org_id}"


def _refusals(org_id: str) -> str:
    return f"recharge-refused/{org_id}"


def _above_cap(org_id: str) -> str:
    return f"recharge-above-cap/{org_id}"
