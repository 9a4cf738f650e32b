"""How often something may be done: so many times a minute, all at once or spread out."""

import math
from collections import OrderedDict

from billing.errors import BillingError

_MINUTE = 60.0
_NOTHING = 1e-6
# Whoever comes under more names at once is not stopped by this.
MOST_NAMES = 10_000


class TooManyRequests(BillingError):
    """The caller has done this too often of late."""

    code = "too_many_requests"
    status = 429
    title = "Too many of these requests; try again later"

    def __init__(self, detail: str, seconds: float) -> None:
        super().__init__(detail)
        self.retry_after_seconds = math.ceil(seconds)


class RateLimit:
    """A rate for each of many names. Those at rest are forgotten first.

    A name is at rest once all that it has done has been paid for by time: each time costs an equal
    part of a minute (the generic cell rate algorithm).
    """

    def __init__(self, per_minute: int) -> None:
        self._cost = _MINUTE / per_minute
        self._at_rest_at: OrderedDict[str, float] = OrderedDict()

    def wait_seconds(self, name: str, now: float) -> float:
        """Return how long a name has to wait from `now` (on any steady clock); 0 if it has not."""
        owes = max(self._at_rest_at.get(name, now) - now, 0.0)
        wait = owes + self._cost - _MINUTE
        return wait if owes and wait > _NOTHING else 0.0

    def take(self, name: str, now: float) -> float:
        """Do it once, unless the name has to wait; return for how long."""
        wait = self.wait_seconds(name, now)
        if not wait:
            self._at_rest_at[name] = max(self._at_rest_at.pop(name, now), now) + self._cost
            if len(self._at_rest_at) > MOST_NAMES:
                self._at_rest_at.popitem(last=False)
        return wait
