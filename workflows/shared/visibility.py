"""Show where a workflow stands: search attributes, and a memo that lists read."""

from datetime import datetime
from typing import Any, TypedDict

from temporalio import workflow
from temporalio.common import SearchAttributeUpdate, TypedSearchAttributes

from activities.parking.visibility import PARKED_MEMO
from activities.temporal.search_attributes import (
    AMOUNT_MINOR,
    BILLING_STATE,
    ORG_ID,
    PARK_REASON,
    PARKED_SINCE,
    BillingState,
)
from billing.ledger.money import Money
from billing.parking.parked import Parked, describe
from billing.parking.parked_work import ParkedNote
from billing.text import inert


def show_parked(parked: Parked, since: datetime) -> None:
    """Let operators find this workflow among the parked, by organisation, reason, money and age."""
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
    """Read why this workflow is parked, or was parked when its last run continued as new."""
    return workflow.memo_value(PARKED_MEMO, None, type_hint=ParkedNote)


class Shown(TypedDict):
    """The memo and search attributes for a workflow's next run.

    Left to itself, Temporal would hand on those with which the first run was started.
    """

    memo: dict[str, ParkedNote | None]
    search_attributes: TypedSearchAttributes


def shown() -> Shown:
    """Return how this workflow is shown now, for the run that it continues as."""
    return Shown(
        memo={PARKED_MEMO: noted()},
        search_attributes=workflow.info().typed_search_attributes,
    )


def show_running() -> None:
    """Let operators see that this workflow is no longer parked."""
    workflow.upsert_search_attributes([BILLING_STATE.value_set(BillingState.RUNNING), *_NOT_PARKED])
    workflow.upsert_memo({PARKED_MEMO: None})


def show_done(
    state: BillingState, org_id: str | None, amount: Money | None, *, was_parked: bool
) -> None:
    """Let operators find this workflow among the settled or discarded; `state` says which."""
    updates = [BILLING_STATE.value_set(state), *_about(org_id, amount)]
    if was_parked:
        updates += _NOT_PARKED
        workflow.upsert_memo({PARKED_MEMO: None})
    workflow.upsert_search_attributes(updates)


def explain_wait(parked: Parked, since: datetime) -> None:
    """Write on its page why it waits, and what a person can do."""
    info = workflow.info()
    workflow.set_current_details(describe(parked, info.workflow_id, since, info.namespace))


def explain_end(
    state: BillingState, org_id: str | None, amount: Money | None, waited: str | None
) -> None:
    """Write on its page whose it is, the money that it was about, and why it waited, if it did."""
    about = (("Organisation", org_id), ("Money", amount))
    known = " · ".join(f"**{name}:** {inert(str(one))}" for name, one in about if one is not None)
    lines = (f"## {state.capitalize()}", known, f"\nIt had {inert(waited)}" if waited else "")
    workflow.set_current_details("\n".join(filter(None, lines)))


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


def count(name: str, **labels: str) -> None:
    """Count in the worker's metrics; not again when the history is replayed."""
    workflow.metric_meter().create_counter(name).add(1, labels)
