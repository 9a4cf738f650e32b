"""What is not kept for ever, and how far a sweep has come with removing it."""

from dataclasses import dataclass, replace

# What webhooks told of people is of no use once they are handled, but for looking into a dispute.
KEEP_BODIES_DAYS = 30
# Longer than anybody tries the same request again; Stripe forgets its keys after a day.
KEEP_IDEMPOTENCY_KEYS_DAYS = 30


@dataclass(frozen=True, slots=True)
class EmptiedBatch:
    """A batch of events, in the order of their numbers: how many were old enough, and up to which.

    `first_left` is the first of those whose body had to stay: it waits, or somebody works on it.
    """

    last: int
    old: int
    emptied: int
    left: int = 0
    first_left: int | None = None
    more: bool = False


@dataclass(frozen=True, slots=True)
class Sweep:
    """How far a sweep of the inbox has come.

    It goes on after event `reached`; up to event `clean` nothing is left, so the next sweep begins
    there. The others are counts; `more` says that there may be more that is old enough.
    """

    reached: int = 0
    clean: int = 0
    looked_at: int = 0
    emptied: int = 0
    left: int = 0
    forgotten_keys: int = 0
    more: bool = True

    def after(self, batch: EmptiedBatch) -> "Sweep":
        """Count a batch in; whatever comes after something that was left is not clean."""
        clean = self.clean
        if not self.left:
            clean = batch.last if batch.first_left is None else batch.first_left - 1
        return replace(
            self,
            reached=batch.last,
            clean=clean,
            looked_at=self.looked_at + batch.old,
            emptied=self.emptied + batch.emptied,
            left=self.left + batch.left,
            more=batch.more,
        )


def next_sweep(last: Sweep | None, *, whole: bool) -> Sweep:
    """Begin where the last sweep left nothing; with the first event if there was none, or `whole`.

    A whole one finds also what an earlier state of the database brought back.
    """
    clean = last.clean if last is not None and not whole else 0
    return Sweep(reached=clean, clean=clean)
