"""The stand-ins' clock: real time plus an offset that a test can push forward.

It lets a checkout session expire, or an idempotency key be forgotten, without a day's wait.
"""

import time

from devstack.providers.storage import Row, Storage

_KIND, _ID = "clock", "offset"


class Clock:
    """Real time plus a stored offset. It never goes back, so lists stay in order."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        stored = storage.get(_KIND, _ID) or {}
        self.offset_seconds: float = stored.get("seconds", 0.0)

    def milliseconds(self) -> int:
        """Return the milliseconds since 1970 on this clock."""
        return int((time.time() + self.offset_seconds) * 1000)

    def seconds(self) -> int:
        """Return the whole seconds since 1970 on this clock, the unit of Stripe's `created`."""
        return self.milliseconds() // 1000

    def advance(self, seconds: float) -> None:
        """Move the clock forward, for this process and for every later one on the same file.

        Raise ValueError for a step back.
        """
        if seconds < 0:
            raise ValueError("the clock cannot go back")
        self.offset_seconds += seconds
        data = {"seconds": self.offset_seconds}
        self._storage.save(Row(kind=_KIND, id=_ID, created=0, updated=0, data=data))
