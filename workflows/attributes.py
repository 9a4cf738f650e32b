"""The search attributes by which operators find work; nothing personal is ever in them."""

from enum import StrEnum
from typing import Any

from temporalio import workflow
from temporalio.common import (
    SearchAttributeKey,
    SearchAttributePair,
    SearchAttributeUpdate,
    TypedSearchAttributes,
)

from billing.money import Money
from billing.parking import Parked

ORG_ID = SearchAttributeKey.for_keyword("OrgId")
BILLING_STATE = SearchAttributeKey.for_keyword("BillingState")
PARK_REASON = SearchAttributeKey.for_keyword("ParkReason")
AMOUNT_MINOR = SearchAttributeKey.for_int("AmountMinor")

KEYS = (ORG_ID, BILLING_STATE, PARK_REASON, AMOUNT_MINOR)


class BillingState(StrEnum):
    """Where a process about money stands."""

    RUNNING = "running"
    PARKED = "parked"
    SETTLED = "settled"
    DISCARDED = "discarded"


RUNNING = TypedSearchAttributes([SearchAttributePair(BILLING_STATE, BillingState.RUNNING)])


def show_parked(parked: Parked) -> None:
    """Let operators find this workflow among what waits, by organisation, reason and money."""
    workflow.upsert_search_attributes(
        [
            BILLING_STATE.value_set(BillingState.PARKED),
            PARK_REASON.value_set(parked.reason),
            *_about(parked.org_id, parked.at_risk),
        ]
    )


def show_running() -> None:
    """Let operators see that this workflow waits no more."""
    workflow.upsert_search_attributes(
        [BILLING_STATE.value_set(BillingState.RUNNING), PARK_REASON.value_unset()]
    )


def show_done(
    state: BillingState, org_id: str | None, amount: Money | None, *, was_parked: bool
) -> None:
    """Let operators find this workflow among what is done with."""
    updates = [BILLING_STATE.value_set(state), *_about(org_id, amount)]
    if was_parked:
        updates.append(PARK_REASON.value_unset())
    workflow.upsert_search_attributes(updates)


def _about(org_id: str | None, amount: Money | None) -> list[SearchAttributeUpdate[Any]]:
    updates: list[SearchAttributeUpdate[Any]] = []
    if org_id is not None:
        updates.append(ORG_ID.value_set(org_id))
    if amount is not None:
        updates.append(AMOUNT_MINOR.value_set(amount.amount_minor))
    return updates
