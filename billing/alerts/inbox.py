"""Alerts about the inbox."""

from collections.abc import Sequence

from billing.alerts.alert import Alert, AlertLevel

_MOST_NAMED = 20


def unreadable(key: str) -> Alert:
    """Return the alert about an event of which nobody can read what was kept; once an event."""
    return Alert(
        key=f"unreadable:{key}",
        level=AlertLevel.HIGH,
        title="A webhook cannot be read any more",
        text="What was kept of it fits no type that this version knows: somebody has edited the"
        " row, or a newer version wrote it. It holds up no other, and is looked at again every"
        " hour. Restore its `facts` from a backup, or look up at the provider what it was about.",
        facts=(("Event", key),),
    )


def cannot_be_emptied(event_ids: Sequence[int]) -> Alert:
    """Return the alert about events whose bodies cannot be removed; once for the first of them."""
    named = ", ".join(map(str, event_ids[:_MOST_NAMED]))
    return Alert(
        key=f"prune:{event_ids[0]}",
        level=AlertLevel.MEDIUM,
        title="The bodies of some webhooks cannot be removed",
        text="They are old enough, and PostgreSQL fails for these alone: the worker's log says by"
        " what error. All others are done. The next daily run tries again.",
        facts=(("Events", named),),
    )
