"""The collection of what waits for an organisation, and the sweep over all that waits."""

from dataclasses import dataclass, replace
from enum import StrEnum

from billing.ledger.entry import NO_POSTINGS, PostingCounts


@dataclass(frozen=True, slots=True)
class CollectionRequest:
    """An organisation whose waiting charges are to be collected.

    The calls `untold` (their ids) and the workflows `untold_workflows` have been charged already,
    and are still to be signalled. `so_far` is the result of the runs before this one.
    """

    org_id: str
    untold: tuple[str, ...] = ()
    untold_workflows: tuple[str, ...] = ()
    so_far: "CollectionResult | None" = None


@dataclass(frozen=True, slots=True)
class CollectionResult:
    """How many workflows were signalled (`told`), and what the ledger answered."""

    told: int = 0
    postings: PostingCounts = NO_POSTINGS

    def __add__(self, other: "CollectionResult") -> "CollectionResult":
        return CollectionResult(self.told + other.told, self.postings + other.postings)


@dataclass(frozen=True, slots=True)
class CollectedBatch:
    """The calls and messages (`sids`) that no longer wait, or now wait for another reason.

    `more` says that another batch may be collected. `is_short` says that the wallet's card should
    be charged. `postings` counts what the ledger answered.
    """

    call_ids: tuple[str, ...]
    more: bool
    is_short: bool = False
    sids: tuple[str, ...] = ()
    postings: PostingCounts = NO_POSTINGS


class WaitingKind(StrEnum):
    """What waits in the database, in the order in which it is swept."""

    CALL = "call"
    MESSAGE = "sms"
    ADJUSTMENT = "adjustment"
    RECHARGE = "recharge"


@dataclass(frozen=True, slots=True)
class WaitingSweep:
    """How far a sweep over what waits has come: everything of `kind` up to `after` was looked at.

    `kind` is None when it is over. `collected` counts what can be paid by now, `told` the
    processes that were woken up, `begun` those that were gone and were begun anew, and `unreadable`
    the rows that nobody can make sense of.
    """

    kind: WaitingKind | None = WaitingKind.CALL
    after: str = ""
    looked_at: int = 0
    collected: int = 0
    told: int = 0
    begun: int = 0
    unreadable: int = 0

    def behind(self, last: str | None) -> "WaitingSweep":
        """Return where it goes on: behind the `last` of a page, or else with the next kind."""
        if last is not None:
            return replace(self, after=last)
        kinds = list(WaitingKind)
        behind = kinds[kinds.index(self.kind) + 1 :] if self.kind else []
        return replace(self, kind=behind[0] if behind else None, after="")
