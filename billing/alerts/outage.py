"""Alerts that the watch cannot look, at anything or at a part.

The first go past the outbox, whose database may be away.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from billing.alerts.alert import AlarmKind, Alert, AlertLevel, Crossing
from billing.alerts.watch import WatchPart

# The types of the failures when PostgreSQL cannot be reached or does not answer in time.
_DATABASE_GONE = frozenset({"OperationalError", "InterfaceError", "TimeoutError"})
_MOST_NAMED = 20
_SAY = {
    WatchPart.INBOX: "the inbox",
    WatchPart.RATES: "the success rates",
    WatchPart.PROBLEMS: "workflows whose code fails",
    WatchPart.PARKED: "what is parked",
    WatchPart.BALANCES: "balances",
    WatchPart.KEYS: "keys of operators that end soon",
    WatchPart.ALARMS: "alarms, which it cannot set",
}


@dataclass(frozen=True, slots=True)
class Unseen:
    """What of a part could not be looked at in a round, and by what failure."""

    part: WatchPart
    name: str
    problem: str


@dataclass(frozen=True, slots=True)
class Outage:
    """The watch could not look from `since` to `until`, because of a failure of type `why`.

    `told` says whether people were alerted while it lasted.
    """

    since: datetime
    why: str
    until: datetime | None = None
    told: bool = False

    @property
    def what(self) -> str:
        """What is away."""
        return "PostgreSQL" if self.why in _DATABASE_GONE else "The watch over billing"


def away(outage: Outage, workflow_id: str) -> Alert:
    """Return the alert that the watch cannot look, and most likely why."""
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
    """Return the alert that the watch can look again, and how long it could not."""
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


def unseen(part: WatchPart, failed: Sequence[Unseen], at: datetime, workflow_id: str) -> Crossing:
    """Return the alarm that a part cannot be looked at: deeper the more of it."""
    alarm = AlarmKind.WATCH.of(part)
    alert = Alert(
        key=f"{alarm}:{at.isoformat()}",
        level=AlertLevel.HIGH,
        title=f"The watch cannot look at {_SAY[part]}",
        text="Nobody is told of what goes wrong there until it can. All else is watched. The"
        " worker's log says by what error.",
        facts=tuple((one.name, one.problem) for one in failed[:_MOST_NAMED]),
        workflow_id=workflow_id,
    )
    return Crossing(alarm, raised=True, alert=alert, depth=len(failed))


def seen_again(part: WatchPart, at: datetime) -> Crossing:
    """Return that a part can be looked at again, whole."""
    alarm = AlarmKind.WATCH.of(part)
    title = f"The watch can look at {_SAY[part]} again"
    alert = Alert(f"{alarm}:over:{at.isoformat()}", AlertLevel.INFO, title, "")
    return Crossing(alarm, raised=False, alert=alert)


def _time(moment: datetime) -> str:
    return f"{moment:%H:%M:%S} UTC"
