"""Who says a fact of a call."""

from enum import StrEnum


class FactSource(StrEnum):
    """Who says a fact of a call, from the weakest word to the strongest.

    `record` is no word about the call: it is when Vapi's record of it was made or changed, which
    stands for the end of a call that never connected. A `notice` is what comes before the end: a
    status-update, or the request that the gate answered; or that an assistant took part in a call
    which names none. Then come the end-of-call-`report`, and Vapi's own `api` about a call that has
    ended. A `person` has looked into it.
    """

    RECORD = "record"
    NOTICE = "notice"
    REPORT = "report"
    API = "api"
    PERSON = "person"

    @property
    def rank(self) -> int:
        """The place among all, from 0: of two facts, that of the higher rank counts."""
        return list(FactSource).index(self)
