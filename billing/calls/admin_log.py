"""What the book of powers has to say of rules about calls."""

from collections.abc import Sequence

from billing.adjustments import Who
from billing.admin_log import AdminAction, AdminChange
from billing.calls.ended_reason import FreeEnding, FreeRule


def free_calls_changed(
    by: Who, ending: FreeEnding, before: Sequence[FreeRule], after: Sequence[FreeRule]
) -> AdminChange:
    """Tell the book whether calls are free that end so; nothing changed if it says the same."""
    was, will_be = (
        {"in_force": any(one.ending == ending and one.until is None for one in rules)}
        for rules in (before, after)
    )
    return AdminChange(by, AdminAction.FREE_CALLS_CHANGED, ending, before=was, after=will_be)
