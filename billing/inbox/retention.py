"""What is not kept for ever, and how far the sweep that removes it has come."""

from dataclasses import dataclass, replace

# Longer than anybody tries the same request again. Stripe forgets its keys after a day.
KEEP_IDEMPOTENCY_KEYS_DAYS = 30


# How many a sweep names.
MOST_FAILED = 100


@dataclass(frozen=True, slots=True)
class EmptiedBatch:
    """A batch of events in the order of their ids, up to event `last`.

    `old` of them were old enough, and `emptied` lost their bodies. `left` had to keep them, from
    event `first_left` on: such an event waits, or another transaction works on it. `more` says that
    another batch may follow. Of those that are left, `failed` are events that PostgreSQL cannot
    write.
    """

    last: int
    old: int
    emptied: int
    left: int = 0
    first_left: int | None = None
    more: bool = False
    failed: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Sweep:
    """How far a sweep of the inbox has come.

    It goes on after event `reached`. Up to event `clean` no body is left, so the next sweep begins
    there. `more` says that there may be more events that are old enough. `failed` names some events
    whose bodies cannot be removed; the next sweep tries again. The rest are counts, that of keys
    which cannot be forgotten among them.
    """

    reached: int = 0
    clean: int = 0
    looked_at: int = 0
    emptied: int = 0
    left: int = 0
    forgotten_keys: int = 0
    more: bool = True
    failed: tuple[int, ...] = ()
    unforgotten_keys: int = 0

    def after(self, batch: EmptiedBatch) -> "Sweep":
        """Return the sweep with a batch counted in.

        Once a body had to stay, the events after it do not count as clean.
        """
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
            failed=(*self.failed, *batch.failed)[:MOST_FAILED],
        )


def next_sweep(last: Sweep | None, *, whole: bool) -> Sweep:
    """Return a sweep that begins where the last one left nothing.

    It begins with the first event if there was no sweep before, or if it is `whole`. A whole sweep
    also finds bodies that came back with a backup of the database.
    """
    clean = last.clean if last is not None and not whole else 0
    return Sweep(reached=clean, clean=clean)
