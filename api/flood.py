"""Tell a flood from a drizzle: a leaky bucket that every arrival fills."""


class LeakyBucket:
    """Leaks `rate` arrivals a second; runs over when more have come than it holds.

    It never fills beyond one second's worth above its brim, so that it is calm again about a second
    after a flood has ended, however large that was.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._brim = 2 * rate
        self._level = 0.0
        self._seen_at = 0.0

    def overflows(self, now: float) -> bool:
        """Take in one arrival at `now` (seconds on any steady clock); True in a flood."""
        self._leak(now)
        self._level = min(self._level + 1.0, self._brim + self._rate)
        return self._level > self._brim

    def is_flooded(self, now: float) -> bool:
        """Say whether there is a flood at `now`, with nothing new arriving."""
        self._leak(now)
        return self._level > self._brim

    def _leak(self, now: float) -> None:
        self._level = max(self._level - (now - self._seen_at) * self._rate, 0.0)
        self._seen_at = now
