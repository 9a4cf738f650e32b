"""A call as it is known here, and what a person says of it: its length, or that it is free."""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from billing.calls.call import CallState, EndedCall, duration_seconds
from billing.calls.facts import for_organization
from billing.calls.length import StatedLength, is_possible
from billing.errors import LengthUnknown
from billing.tariffs.tariff import Charge
from billing.text import GIVEN_UP_BY_SUPPORT


@dataclass(frozen=True, slots=True)
class CallRecord:
    """A call as callwallet knows it: the facts, where it stands, what it cost, and who settled it.

    `workflow_id` names the workflow that saw it last: `call/{id}`, or `inbox/drain` in a flood.
    `correction_given_up` means that a person let the charge stand, whatever Vapi says.
    """

    position: int
    call: EndedCall
    state: CallState
    org_id: str | None
    charge: Charge | None
    workflow_id: str
    note: str
    first_seen_at: datetime
    updated_at: datetime
    correction_given_up: bool = False

    def for_organization(self) -> "CallRecord":
        """Return what an organisation is shown of it: not who has given it up, and why."""
        is_given_up = self.correction_given_up or self.state is CallState.DISCARDED
        note = GIVEN_UP_BY_SUPPORT if is_given_up else self.note
        return replace(self, call=for_organization(self.call), note=note)


@dataclass(frozen=True, slots=True)
class DiscardedCall:
    """A person's decision to give a charge up: who, and why."""

    call: EndedCall
    note: str


def stated_length(
    call: EndedCall, seconds: Decimal | None, who_and_why: str, now: datetime
) -> StatedLength:
    """Return the length that a person states: in `seconds`, or as long as is said of the call.

    Raise LengthUnknown if nothing is said, or only what cannot be.
    """
    length = duration_seconds(call) if seconds is None else seconds
    if length is None or not is_possible(length):
        raise LengthUnknown(
            f"nobody says how long call {call.call_id} can have taken; state `seconds`"
        )
    return StatedLength(length, who_and_why, now)
