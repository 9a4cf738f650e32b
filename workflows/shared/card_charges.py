"""Charge a saved card once, and find out what came of it."""

from dataclasses import replace

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from activities.recharges.stripe_cards import REFUSED, REPLAYED, ChargeActivities
from billing.errors import KeyRefused
from billing.recharges.attempt import ABANDONED, Attempt, AttemptState, ChargeOutcome, arrives_until
from workflows.shared.options import ONCE, PROVIDER


async def charge(attempt: Attempt) -> ChargeOutcome:
    """Send it once. Without an answer it is looked up, and what is not there may yet come.

    If our key is refused, nobody can say more before that is mended, and the failure is raised.
    Unless Stripe repeats a failure that is over: then what is not there never was, once nothing
    of it can arrive any more.
    """
    before = workflow.now()
    try:
        return await workflow.execute_activity_method(
            ChargeActivities.charge_card, attempt, summary=f"charge {attempt.amount}", **ONCE
        )
    except ActivityError as failure:
        if is_cancelled_exception(failure):
            raise
        found = await look_up(attempt)
        if found == ChargeOutcome(AttemptState.OPEN) and _type_of(failure) == KeyRefused.code:
            raise
        if found == ChargeOutcome(AttemptState.OPEN) and _is_over(failure):
            is_late = before >= arrives_until(attempt) or _gives_up_early(failure)
            found = ABANDONED if is_late else found
        is_ours = found.state in (AttemptState.OPEN, AttemptState.ABANDONED)
        return (
            replace(found, refused_for=_refusal(failure) or found.refused_for) if is_ours else found
        )


async def look_up(attempt: Attempt) -> ChargeOutcome:
    """Look for what Stripe has made of an attempt."""
    return await workflow.execute_activity_method(
        ChargeActivities.look_up_charge, attempt, summary="is it at Stripe?", **PROVIDER
    )


def _gives_up_early(failure: ActivityError) -> bool:
    """Return whether this run began with code that did not wait for what may still arrive."""
    is_new = _refusal(failure) is not None
    return not is_new and not workflow.patched("waits-for-what-may-arrive")


def _is_over(failure: ActivityError) -> bool:
    """Return whether the key leads to nothing any more: Stripe repeats a failure, or refuses."""
    return _type_of(failure) in (REPLAYED, REFUSED)


def _refusal(failure: ActivityError) -> str | None:
    """Return why Stripe has refused our request; None if that is not what has failed."""
    return str(failure.cause) if _type_of(failure) == REFUSED else None


def _type_of(failure: ActivityError) -> str | None:
    return failure.cause.type if isinstance(failure.cause, ApplicationError) else None
