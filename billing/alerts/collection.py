"""Alerts about what waits."""

from collections.abc import Sequence

from billing.alerts.alert import Alert, AlertLevel
from billing.collection import WaitingKind

_MOST_NAMED = 20
_LONGEST_NAME = 200


def cannot_be_swept(kind: WaitingKind, names: Sequence[str]) -> Alert:
    """Return the alert about rows that wait and cannot be looked at; once for the first of them."""
    named = ", ".join(name[:_LONGEST_NAME] for name in names[:_MOST_NAMED])
    return Alert(
        key=f"sweep:{kind}:{names[0]}",
        level=AlertLevel.MEDIUM,
        title=f"Some of what waits cannot be looked at: {len(names)} of kind {kind}",
        text="Somebody has edited the rows, or PostgreSQL or Temporal fails for these alone: the"
        " worker's log says by what error. All others were looked at. The next daily sweep tries"
        " again.",
        facts=(("Names", named),),
    )
