"""What the watch has seen in one round."""

from dataclasses import dataclass
from datetime import datetime

from billing.monitoring import Rate, Rates
from billing.parking.parked_work import ParkedTotal

_NOTHING = Rates(Rate(0, 0), Rate(0, 0), Rate(0, 0))


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything that a round of the watch has looked at, at the moment `at`.

    `oldest_due_seconds` is how long the webhook that waits longest has been due. `parked` is all
    that is parked; `reconciling` is the part of it that is reconciliations. `failing` workflows
    cannot go on because their code fails; `failing_ids` are some of them. What could not be looked
    at is empty here, and nobody decides by it.
    """

    at: datetime
    quarter: Rates = _NOTHING
    hour: Rates = _NOTHING
    oldest_due_seconds: float = 0.0
    parked: tuple[ParkedTotal, ...] = ()
    reconciling: tuple[ParkedTotal, ...] = ()
    failing: int = 0
    failing_ids: tuple[str, ...] = ()
