"""How a workflow shows where it stands: search attributes, and a note that lists read."""

from datetime import datetime
from typing import Any, TypedDict

from temporalio import workflow
from temporalio.common import SearchAttributeUpdate, TypedSearchAttributes

from activities.attributes import (
    AMOUNT_MINOR,
    BILLING_STATE,
    ORG_ID,
    PARK_REASON,
    PARKED_SINCE,
    BillingState,
)
from activities.visibility import PARKED_MEMO
from billing.money import Money
from billing.parked import ParkedNote
from billing.parking import Parked


def show_parked(parked: Parked, since: datetime) -> None:
    """Let operators find this workflow among what waits, by organisation, reason, money and age."""
    workflow.upsert_search_attributes(
        [
            BILLING_STATE.value_set(BillingState.PARKED),
            PARK_REASON.value_set(parked.reason),
            PARKED_SINCE.value_set(since),
            *_about(parked.org_id, parked.at_risk),
        ]
    )
    workflow.upsert_memo({PARKED_MEMO: ParkedNote(parked, since)})


def noted() -> ParkedNote | None:
    """Read why this workflow is parked, or was when its last run began anew."""
    return workflow.memo_value(PARKED_MEMO, None, type_hint=ParkedNote)


class Shown(TypedDict):
    """What the next run of a workflow has to be told: Temporal hands on what the first was told."""

    memo: dict[str, ParkedNote | None]
    search_attributes: TypedSearchAttributes


def shown() -> Shown:
    """Say how this workflow is shown, for the run that goes on in its place."""
    return Shown(
        memo={PARKED_MEMO: noted()},
        search_attributes=workflow.info().typed_search_attributes,
    )


def show_running() -> None:
    """Let operators see that this workflow waits no more."""
    workflow.upsert_search_attributes([BILLING_STATE.value_set(BillingState.RUNNING), *_NOT_PARKED])
    workflow.upsert_memo({PARKED_MEMO: None})


def show_done(
    state: BillingState, org_id: str | None, amount: Money | None, *, was_parked: bool
) -> None:
    """Let operators find this workflow among what is done with."""
    updates = [BILLING_STATE.value_set(state), *_about(org_id, amount)]
    if was_parked:
        updates += _NOT_PARKED
        workflow.upsert_memo({PARKED_MEMO: None})
    workflow.upsert_search_attributes(updates)


_NOT_PARKED: list[SearchAttributeUpdate[Any]] = [
    PARK_REASON.value_unset(),
    PARKED_SINCE.value_unset(),
]


def _about(org_id: str | None, amount: Money | None) -> list[SearchAttributeUpdate[Any]]:
    updates: list[SearchAttributeUpdate[Any]] = []
    if org_id is not None:
        updates.append(ORG_ID.value_set(org_id))
    if amount is not None:
        updates.append(AMOUNT_MINOR.value_set(amount.amount_minor))
    return updates
