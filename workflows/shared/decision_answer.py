"""What a process answers to a person's decision."""

from dataclasses import dataclass

from activities.temporal.search_attributes import BillingState
from billing.parking.parked import Parked


@dataclass(frozen=True, slots=True)
class DecisionAnswer:
    """Where a process stands after a decision, and if it is parked (again), why."""

    state: BillingState
    parked: Parked | None = None

    def __str__(self) -> str:
        if self.parked is None:
            return self.state
        return f"{self.state}: {self.parked.reason}: {self.parked.happened}"
