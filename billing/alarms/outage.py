"""The watch itself cannot look: told past the outbox, which is in the database that is away."""

from dataclasses import dataclass
from datetime import datetime

from billing.alert import AlarmKind, Alert, AlertLevel

# What a try fails with when PostgreSQL cannot be reached or does not answer in time.
_DATABASE_GONE = frozenset({"OperationalError", "InterfaceError", "TimeoutError"})


@dataclass(frozen=True, slots=True)
class Outage:
    """The watch could not look from `since` on, for a failure of type `why`; `until` it could.

    `told` says whether people heard of it while it lasted.
    """

    since: datetime
    why: str
    until: datetime | None = None
    told: bool = False

    @property
    def what(self) -> str:
        """What it is that is away."""
        return "PostgreSQL" if self.why in _DATABASE_GONE else "The watch over billing"


def away(outage: Outage, workflow_id: str) -> Alert:
    """Say that the watch is blind, and most likely why."""
    is_database = outage.why in _DATABASE_GONE
    return Alert(
        key=f"{AlarmKind.WATCH}:{outage.since.isoformat()}",
        level=AlertLevel.CRITICAL,
        title=f"PostgreSQL does not answer since {_time(outage.since)}"
        if is_database
        else f"Nobody has watched over billing since {_time(outage.since)}: {outage.why}",
        text="Webhooks are still taken, by Temporal, and nothing is charged or credited until it is"
        " back. No other alert can be told meanwhile."
        if is_database
        else "The watch fails, so no other of its alerts can be told. The reason is on its page.",
        workflow_id=workflow_id,
    )


def over(outage: Outage) -> Alert:
    """Say that the watch can look again, and how long it could not."""
    until = outage.until or outage.since
    minutes, seconds = divmod(int((until - outage.since).total_seconds()), 60)
    heard = "" if outage.told else " Slack could not be reached to tell of it meanwhile."
    return Alert(
        key=f"{AlarmKind.WATCH}:over:{outage.since.isoformat()}",
        level=AlertLevel.INFO,
        title=f"{outage.what} answers again, after {minutes} min {seconds} s"
        if outage.what == "PostgreSQL"
        else f"{outage.what} goes on, after {minutes} min {seconds} s",
        text=f"It did not from {_time(outage.since)} to {_time(until)}.{heard} What came meanwhile"
        " is settled now.",
    )


def _time(moment: datetime) -> str:
    return f"{moment:%H:%M:%S} UTC"
