"""Auto-recharge on PostgreSQL: decide, write attempts down, and record what became of them."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from billing.attempt import Attempt, AttemptState, Card, Outcome, SavedCard, customers_deadline
from billing.parking import Parked
from billing.recharge import Decision, HoldReason, Standing, Step, Suspension, decide
from billing.recharge_notes import (
    failure_alert,
    held,
    link_alert,
    no_card_alert,
    recovery_alert,
    suspension_after,
    suspension_alert,
)
from store import alerts, recharges, wallets


@dataclass(frozen=True, slots=True)
class Question:
    """Whose recharge is to be decided, when, and with which card if somebody has looked for one.

    `lift` ends a suspension or a cool-down first: a person asked for that.
    """

    org_id: str
    now: datetime
    saved: SavedCard | None = None
    lift: bool = False

    @property
    def card(self) -> Card | None:
        """The card that was found, if any was."""
        return self.saved.card if self.saved else None


@dataclass(frozen=True, slots=True)
class Plan:
    """What comes next, about which attempt, and the payments that are yet to be credited.

    `return_url` is where a customer goes back to who has been asked something.
    """

    decision: Decision
    attempt: Attempt | None = None
    parked: Parked | None = None
    uncredited: tuple[str, ...] = ()
    return_url: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What became of an attempt, as far as it is known, and when it became known."""

    attempt: Attempt
    outcome: Outcome
    now: datetime


@dataclass(frozen=True, slots=True)
class Link:
    """A page at Stripe on which the customer can pay what an attempt could not."""

    attempt: Attempt
    session_id: str
    url: str


class RechargeActivities:
    """What happens to recharges in the database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @activity.defn
    async def plan_recharge(self, question: Question) -> Plan:
        """Decide what comes next. A charge is written down in the transaction that decides on it.

        Whoever asks again, having lost the answer, is told to finish the attempt that it wrote.
        """
        async with self._engine.begin() as connection:
            wallet = (await wallets.lock(connection, [question.org_id])).get(question.org_id)
            if wallet is None:
                return Plan(Decision(Step.NOTHING))
            if question.lift:
                await recharges.lift(connection, question.org_id)
            card = question.card
            standing = await recharges.standing(
                connection, wallet, question.now, card.fingerprint if card else None
            )
            return await _plan(connection, standing, question)

    @activity.defn
    async def record_recharge(self, result: Result) -> bool:
        """Record what became of an attempt, once; True when people are to be told of it."""
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
            standing = await recharges.standing(connection, wallet, result.now)
            return await _declined(connection, standing, changed, result)

    @activity.defn
    async def record_link(self, link: Link) -> Attempt:
        """Keep the page on which the customer can pay, and have people told of it."""
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


async def _plan(connection: AsyncConnection, standing: Standing, question: Question) -> Plan:
    decision = decide(standing, question.saved, question.now)
    attempt, card = standing.under_way, question.card
    if decision.reason is HoldReason.NO_SAVED_CARD:
        alert = no_card_alert(question.org_id, question.now)
        await alerts.cross(connection, _alarm(question.org_id), raised=True, alert=alert)
    if decision.step is Step.CHARGE and decision.amount is not None and card is not None:
        if standing.suspension is not None:
            await recharges.lift(connection, question.org_id)
        attempt = await recharges.write_down(
            connection, question.org_id, decision.amount, card, question.now
        )
    return Plan(
        decision,
        attempt,
        held(standing, decision) if decision.step is Step.HOLD else None,
        tuple(one.payment_id for one in standing.uncredited if one.payment_id),
        standing.settings.return_url,
    )


async def _succeeded(connection: AsyncConnection, attempt: Attempt) -> bool:
    await recharges.lift(connection, attempt.org_id)
    return await alerts.cross(
        connection, _alarm(attempt.org_id), raised=False, alert=recovery_alert(attempt)
    )


async def _declined(
    connection: AsyncConnection, standing: Standing, attempt: Attempt, result: Result
) -> bool:
    """Suspend the card if that is due. The first failure is told, and that nobody tries any more.

    Between the two people would only be told what they know.
    """
    suspended_for = suspension_after(standing, attempt, result.outcome)
    if suspended_for is not None:
        fingerprint = attempt.card.fingerprint
        suspension = Suspension(suspended_for, result.now, fingerprint)
        await recharges.suspend(connection, attempt.org_id, suspension)
    alert = failure_alert(standing, attempt, suspended_for)
    is_first = await alerts.cross(connection, _alarm(attempt.org_id), raised=True, alert=alert)
    if is_first or suspended_for is None:
        return is_first
    return await alerts.tell(connection, suspension_alert(attempt, suspended_for))


def _alarm(org_id: str) -> str:
    return f"recharge/{org_id}"
