"""Adjustments on PostgreSQL: the row, the entry, and what people are told, in one transaction."""

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from activities.ledger.postings import books
from billing.adjustments import (
    Adjustment,
    AdjustmentState,
    Decision,
    Proposal,
    adjustment_transfer,
    posted,
    ruled,
)
from billing.alerts.adjustments import alert_about
from billing.ledger.entry import same_again
from billing.platform_rules import PlatformRules
from store import adjustments
from store.alerts import alerts
from store.ledger import ledger

_DEFAULT = PlatformRules()


@dataclass(frozen=True, slots=True)
class AdjustmentOpening:
    """A proposal that was made `at` some time, and counts until it `expires_at`."""

    proposal: Proposal
    at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Ruling:
    """What was decided about an adjustment, if anybody had to, and that it is now time."""

    adjustment_id: str
    at: datetime
    decision: Decision | None = None


class AdjustmentActivities:
    """What happens to adjustments in the ledger."""

    def __init__(self, engine: AsyncEngine, rules: PlatformRules = _DEFAULT) -> None:
        self._engine, self._rules = engine, rules

    @activity.defn
    async def open_adjustment(self, opening: AdjustmentOpening) -> Adjustment:
        """Keep what is asked for; the same again is answered with where it stands.

        What brings the sum of a day above what one operator may adjust alone needs approval.
        """
        async with self._engine.begin() as connection:
            proposal = opening.proposal
            if not proposal.needs_approval:
                alone = await adjustments.adjusted_alone(connection, proposal, opening.at)
                is_too_much = alone > self._rules.adjustment_day_approval_minor
                proposal = replace(proposal, needs_approval=is_too_much)
            adjustment = await adjustments.create(
                connection, proposal, opening.at, opening.expires_at
            )
            return await _told(connection, adjustment)

    @activity.defn
    async def settle_adjustment(self, ruling: Ruling) -> Adjustment:
        """Post what is approved, and record what became of it.

        What was posted before is asked of the ledger again, and answered as a duplicate; all else
        that is not pending stays.
        """
        async with books(self._engine) as connection:
            adjustment = await adjustments.read(connection, ruling.adjustment_id, lock=True)
            settled = ruled(adjustment, ruling.decision, ruling.at)
            if settled == adjustment:
                return await _again(connection, adjustment)
            if settled.state is AdjustmentState.APPLIED:
                transfer = adjustment_transfer(settled, ruling.at)
                [posting] = await ledger.post(connection, [transfer])
                settled = posted(settled, posting)
            await adjustments.settle(connection, settled)
            return await _told(connection, settled)


async def _again(connection: AsyncConnection, adjustment: Adjustment) -> Adjustment:
    if adjustment.posting is None or adjustment.posting.entry is None:
        return adjustment
    [posting] = await ledger.post(connection, [same_again(adjustment.posting.entry)])
    return replace(adjustment, posting=posting)


async def _told(connection: AsyncConnection, adjustment: Adjustment) -> Adjustment:
    alert = alert_about(adjustment)
    if alert is not None:
        await alerts.tell(connection, alert)
    return adjustment
