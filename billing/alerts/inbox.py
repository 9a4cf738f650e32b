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


def unwritable(key: str) -> Alert:
    """Return the alert about an event whose row PostgreSQL cannot write; once an event."""
    return Alert(
        key=f"unwritable:{key}",
        level=AlertLevel.HIGH,
        title="The row of a webhook cannot be written",
        text="PostgreSQL fails for this row alone: the worker's log says by what error. It holds up"
        " no other, moves money once at most, and is looked at again with each sweep of the inbox."
        " A page of the table or of an index may be damaged: `REINDEX`, or restore a backup.",
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


def cannot_be_forgotten(callers: Sequence[str]) -> Alert:
    """Return the alert about keys of these callers that cannot be deleted; once for the first."""
    named = ", ".join(dict.fromkeys(callers[:_MOST_NAMED]))
    return Alert(
        key=f"prune-keys:{callers[0]}",
        level=AlertLevel.MEDIUM,
        title="Some old answers to requests cannot be removed",
        text="They are old enough, and PostgreSQL fails for these alone: the worker's log says by"
        " what error. All others are done. The next daily run tries again.",
        facts=(("Keys of", named), ("How many", str(len(callers)))),
    )
