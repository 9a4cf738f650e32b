"""The book of powers: each change that a person makes, with who, when, before and after."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from billing.adjustments import Who
from billing.organizations import SENDERS, Agent, ApiKey
from billing.recharges.history import CardCaps

# Of a reason that is longer, so much is kept.
LONGEST_REASON = 1000

Values = Mapping[str, Any]


class AdminSubject(StrEnum):
    """What a change is about."""

    ADJUSTMENT = "adjustment"
    API_KEY = "api_key"
    ASSISTANT = "assistant"
    BULK_DECISION = "bulk_decision"
    CALL = "call"
    FREE_CALL_RULE = "free_call_rule"
    ORGANIZATION = "organization"
    PROCESS = "process"
    RECONCILIATION = "reconciliation"
    SENDER = "sender"
    SMS_TARIFF = "sms_tariff"
    TARIFF = "tariff"


class AdminAction(StrEnum):
    """What people do that stands in the book."""

    ADJUSTMENT_ASKED = "adjustment_asked"
    ADJUSTMENT_APPROVED = "adjustment_approved"
    ADJUSTMENT_REJECTED = "adjustment_rejected"
    ASSISTANT_REGISTERED = "assistant_registered"
    ASSISTANT_REMOVED = "assistant_removed"
    AUTO_RECHARGE_CHANGED = "auto_recharge_changed"
    BULK_DECIDED = "bulk_decided"
    CALL_REGISTERED = "call_registered"
    CAPS_CHANGED = "caps_changed"
    DEBT_LIMIT_ASKED = "debt_limit_asked"
    DEBT_LIMIT_CHANGED = "debt_limit_changed"
    FREE_CALLS_CHANGED = "free_calls_changed"
    FROZEN = "frozen"
    KEY_MADE = "key_made"
    KEY_REVOKED = "key_revoked"
    KEY_ROTATED = "key_rotated"
    LENGTH_STATED = "length_stated"
    ORGANIZATION_MADE = "organization_made"
    PARKED_DISCARDED = "parked_discarded"
    PARKED_REPROCESSED = "parked_reprocessed"
    RECONCILIATION_ASKED = "reconciliation_asked"
    SENDER_REGISTERED = "sender_registered"
    SENDER_REMOVED = "sender_removed"
    SMS_TARIFF_ADDED = "sms_tariff_added"
    TARIFF_ADDED = "tariff_added"
    THAWED = "thawed"


_SUBJECTS: Mapping[AdminAction, AdminSubject] = {
    AdminAction.ADJUSTMENT_ASKED: AdminSubject.ADJUSTMENT,
    AdminAction.ADJUSTMENT_APPROVED: AdminSubject.ADJUSTMENT,
    AdminAction.ADJUSTMENT_REJECTED: AdminSubject.ADJUSTMENT,
    AdminAction.ASSISTANT_REGISTERED: AdminSubject.ASSISTANT,
    AdminAction.ASSISTANT_REMOVED: AdminSubject.ASSISTANT,
    AdminAction.AUTO_RECHARGE_CHANGED: AdminSubject.ORGANIZATION,
    AdminAction.BULK_DECIDED: AdminSubject.BULK_DECISION,
    AdminAction.CALL_REGISTERED: AdminSubject.CALL,
    AdminAction.CAPS_CHANGED: AdminSubject.ORGANIZATION,
    AdminAction.DEBT_LIMIT_ASKED: AdminSubject.ORGANIZATION,
    AdminAction.DEBT_LIMIT_CHANGED: AdminSubject.ORGANIZATION,
    AdminAction.FREE_CALLS_CHANGED: AdminSubject.FREE_CALL_RULE,
    AdminAction.FROZEN: AdminSubject.ORGANIZATION,
    AdminAction.KEY_MADE: AdminSubject.API_KEY,
    AdminAction.KEY_REVOKED: AdminSubject.API_KEY,
    AdminAction.KEY_ROTATED: AdminSubject.API_KEY,
    AdminAction.LENGTH_STATED: AdminSubject.PROCESS,
    AdminAction.ORGANIZATION_MADE: AdminSubject.ORGANIZATION,
    AdminAction.PARKED_DISCARDED: AdminSubject.PROCESS,
    AdminAction.PARKED_REPROCESSED: AdminSubject.PROCESS,
    AdminAction.RECONCILIATION_ASKED: AdminSubject.RECONCILIATION,
    AdminAction.SENDER_REGISTERED: AdminSubject.SENDER,
    AdminAction.SENDER_REMOVED: AdminSubject.SENDER,
    AdminAction.SMS_TARIFF_ADDED: AdminSubject.SMS_TARIFF,
    AdminAction.TARIFF_ADDED: AdminSubject.TARIFF,
    AdminAction.THAWED: AdminSubject.ORGANIZATION,
}
# What of an organisation's decides whether its charges are taken, and its calls let in.
OVER_CHARGES = frozenset(
    {
        AdminAction.DEBT_LIMIT_ASKED,
        AdminAction.DEBT_LIMIT_CHANGED,
        AdminAction.FROZEN,
        AdminAction.THAWED,
        AdminAction.CAPS_CHANGED,
        AdminAction.AUTO_RECHARGE_CHANGED,
    }
)


@dataclass(frozen=True, slots=True)
class AdminChange:
    """What a person changes: `before` and `after` are the values that differ, or tell it apart.

    No secret belongs in them, and nothing personal beyond what the routes keep anyway. What is to
    stand in the book `once`, however often it is asked for, has a name for that.
    """

    by: Who
    action: AdminAction
    subject_id: str
    org_id: str | None = None
    before: Values | None = None
    after: Values | None = None
    reason: str | None = None
    once: str | None = None

    @property
    def subject(self) -> AdminSubject:
        """What kind of thing it is about."""
        return _SUBJECTS[self.action]

    @property
    def is_one(self) -> bool:
        """Whether anything is another than before."""
        return self.before is None or self.before != self.after


@dataclass(frozen=True, slots=True)
class AdminRecord:
    """A line of the book. Who it was is as it was then: the key's id and label, or the program.

    Only a key was authenticated; a name is what somebody says of themselves.
    """

    position: int
    at: datetime
    by: Who
    action: AdminAction
    subject: AdminSubject
    subject_id: str
    org_id: str | None
    before: Values | None
    after: Values | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class AdminLogFilter:
    """Which lines are asked for: those that fit everything that is given.

    `actor` is a key's id, or a label or name as it is written there.
    """

    org_id: str | None = None
    actor: str | None = None
    subject: str | None = None
    action: AdminAction | None = None
    recorded_after: datetime | None = None
    recorded_before: datetime | None = None

    def since(self, moment: datetime) -> "AdminLogFilter":
        """Return the same for lines after a moment."""
        return replace(self, recorded_after=moment)


def key_made(key: ApiKey, by: Who) -> AdminChange:
    """Tell the book of a new key; nothing of its secret."""
    return AdminChange(by, AdminAction.KEY_MADE, key.key_id, key.org_id, after=_as_made(key))


def key_rotated(key: ApiKey, by: Who) -> AdminChange:
    """Tell the book of a key that has come in the place of another."""
    after = {**_as_made(key), "replaces": key.replaces}
    return AdminChange(by, AdminAction.KEY_ROTATED, key.key_id, key.org_id, after=after)


def _as_made(key: ApiKey) -> Values:
    expires_at = key.expires_at.isoformat() if key.expires_at else None
    return {"scope": key.scope, "label": key.label, "expires_at": expires_at}


def registered(by: Who, agent: Agent, before: Agent | None, last_owner: str | None) -> AdminChange:
    """Tell the book of what answers or sends, and whose it was before."""
    is_sender = agent.kind in SENDERS
    action = AdminAction.SENDER_REGISTERED if is_sender else AdminAction.ASSISTANT_REGISTERED
    was = _as_registered(before) if before else {"org_id": last_owner}
    return AdminChange(by, action, agent.agent_id, agent.org_id, was, _as_registered(agent))


def removed(by: Who, agent: Agent) -> AdminChange:
    """Tell the book that something answers or sends for an organisation no longer."""
    is_sender = agent.kind in SENDERS
    action = AdminAction.SENDER_REMOVED if is_sender else AdminAction.ASSISTANT_REMOVED
    was = _as_registered(agent)
    return AdminChange(by, action, agent.agent_id, agent.org_id, was, {"org_id": None})


def has_another_owner(change: AdminChange) -> bool:
    """Return whether what was registered was another organisation's before."""
    before = (change.before or {}).get("org_id")
    return before not in (None, change.org_id)


def _as_registered(agent: Agent) -> Values:
    return {"org_id": agent.org_id, "kind": agent.kind, "answered_by": agent.answered_by}


def caps_changed(by: Who, org_id: str, before: CardCaps | None, said: CardCaps) -> AdminChange:
    """Tell the book of other caps of a card; None are the platform's."""
    was, will_be = (
        {"charge_minor": one and one.charge_minor, "day_minor": one and one.day_minor}
        for one in (before, said)
    )
    action, why = AdminAction.CAPS_CHANGED, said.who_and_why
    return AdminChange(by, action, org_id, org_id, was, will_be, reason=why)


def in_one_line(record: AdminRecord) -> str:
    """Say what was changed, for people."""
    changed = f"{_shown(record.before)} → {_shown(record.after)}" if record.before else ""
    changed = changed or _shown(record.after)
    why = f" ({record.reason})" if record.reason else ""
    return (
        f"{record.at:%Y-%m-%d %H:%M} UTC {record.by}: {record.action} {record.subject_id}"
        f" {changed}{why}"
    ).strip()


def _shown(values: Values | None) -> str:
    return ", ".join(f"{name}={value}" for name, value in (values or {}).items())
