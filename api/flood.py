"""Tell a flood from a drizzle: a leaky bucket that every arrival fills."""


class LeakyBucket:
    """Leaks `rate` arrivals a second; runs over when more have come than it holds.

    It never fills beyond one second's worth above its brim, so that it is calm again about a second
    after a flood has ended, however large that was.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._brim = rate
        self._level = 0.0
        self._seen_at = 0.0

    def overflows(self, now: float) -> bool:
        """Take in one arrival at `now` (seconds on any steady clock); True in a flood."""
        leaked = (now - self._seen_at) * self._rate
        self._seen_at = now
        self._level = min(max(self._level - leaked, 0.0) + 1.0, self._brim + self._rate)
        return self._level > self._brim
