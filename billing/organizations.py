"""Who pays: organisations, the numbers and assistants that are theirs, and keys to the API."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from billing.errors import InvalidExpiry

# Every key to the API begins with this.
KEY_PREFIX = "cw"
LONGEST_LIFE = timedelta(days=730)
# The use of a key is written down once in this time.
NOTED_EVERY = timedelta(hours=1)
# How long a key goes on that was rotated.
OVERLAP, LONGEST_OVERLAP = timedelta(days=1), timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Organization:
    """A tenant of the platform."""

    org_id: str
    name: str
    created_at: datetime


class AgentKind(StrEnum):
    """What of Vapi's, or of Twilio's, names an organisation."""

    CALL = "call"
    SQUAD = "squad"
    WORKFLOW = "workflow"
    ASSISTANT = "assistant"
    PHONE_NUMBER = "phone_number"
    SMS_NUMBER = "sms_number"
    MESSAGING_SERVICE = "messaging_service"


# The kinds that answer calls, and the kinds that send messages.
ANSWERERS = (
    AgentKind.SQUAD,
    AgentKind.WORKFLOW,
    AgentKind.ASSISTANT,
    AgentKind.PHONE_NUMBER,
)
# What a call may be named by: itself goes first, and then what it was started with.
NAMES_OF_CALLS = (AgentKind.CALL, *ANSWERERS)
SENDERS = (AgentKind.SMS_NUMBER, AgentKind.MESSAGING_SERVICE)


@dataclass(frozen=True, slots=True)
class Answerer:
    """What answers a number whose callers pass the gate: an assistant, a squad or a workflow."""

    agent_id: str
    kind: AgentKind


@dataclass(frozen=True, slots=True)
class RegisteredCall:
    """A call that is an organisation's whatever it came over."""

    call_id: str
    org_id: str


@dataclass(frozen=True, slots=True)
class Agent:
    """What answers calls at Vapi, or sends messages at Twilio, registered to an organisation.

    `answered_by` is what answers a number whose callers pass the gate, `answered_by_kind` whether
    that is an assistant, a squad or a workflow; of numbers that version 0.1 registered it is None,
    and an assistant. `account_sid` is the Twilio account whose sender it is alone; then
    it stands in `agent_id` (`sender_id`).
    """

    agent_id: str
    kind: AgentKind
    org_id: str
    created_at: datetime
    answered_by: str | None = None
    answered_by_kind: AgentKind | None = None
    account_sid: str | None = None


def sender_id(sender: str, account_sid: str | None) -> str:
    """Name a sender of one Twilio account, or of any account if `account_sid` is None.

    Alphanumeric senders are not unique between accounts. None of them has a colon. A channel's
    address has one, behind the channel (`whatsapp:+44…`), whose name is no account's.
    """
    return sender if account_sid is None else f"{account_sid}:{sender}"


def account_of(agent_id: str, kind: AgentKind) -> str | None:
    """Return the Twilio account whose sender this is alone; None if it is not of one."""
    account_sid, colon, _ = agent_id.partition(":")
    is_account = bool(colon) and account_sid.startswith("AC")
    return account_sid if is_account and kind is AgentKind.SMS_NUMBER else None


class Scope(StrEnum):
    """What an API key is for. `full` and `read` are an organisation's; `read` is operators' too."""

    OPERATOR = "operator"
    SUPPORT = "support"
    READ = "read"
    METRICS = "metrics"
    FULL = "full"


OPERATORS_SCOPES = (Scope.OPERATOR, Scope.SUPPORT, Scope.READ, Scope.METRICS)
ORGANIZATIONS_SCOPES = (Scope.FULL, Scope.READ)


def widest(org_id: str | None) -> Scope:
    """Return the scope of a key that is made without saying which: as much as there is."""
    return Scope.OPERATOR if org_id is None else Scope.FULL


def fits(scope: Scope, org_id: str | None) -> bool:
    """Whether a key of an organisation, or of an operator (None), can have this scope."""
    return scope in (OPERATORS_SCOPES if org_id is None else ORGANIZATIONS_SCOPES)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key to the API, without its secret; only a hash of that is kept.

    `made_by` is the key it was made with; None for one that was made beside the database, and,
    where an organisation reads it, for one that was made by an operator. It is good until
    `expires_at`. `last_used_at` may be an hour old. It `replaces` a key that was rotated; `origin`
    is the first of those that were replaced one after another.
    """

    key_id: str
    scope: Scope
    org_id: str | None
    label: str
    created_at: datetime
    revoked_at: datetime | None = None
    made_by: str | None = None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    replaces: str | None = None
    origin: str | None = None

    @property
    def is_operators(self) -> bool:
        """Whether an operator has it, and no organisation."""
        return self.org_id is None

    @property
    def caller(self) -> str:
        """Who asks with it: the same after a rotation, so that what acts once still does."""
        return self.origin or self.key_id

    @property
    def role(self) -> str:
        """Its scope, with whose it is where that is not an operator."""
        return role_of(self.scope, is_operators=self.is_operators)

    def reaches(self, org_id: str | None) -> bool:
        """Whether it may have what is an organisation's: an operator's may, and its own.

        What is nobody's (None) only an operator's may.
        """
        return self.is_operators or self.org_id == org_id

    def is_good(self, now: datetime) -> bool:
        """Whether it opens anything."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def may_rotate(self, other: "ApiKey") -> bool:
        """Whether another key, or it itself, may be replaced with it."""
        is_full = self.scope is Scope.FULL and other.org_id == self.org_id
        return other.key_id == self.key_id or self.scope is Scope.OPERATOR or is_full


def role_of(scope: Scope, *, is_operators: bool) -> str:
    """Name what a key may do, and for whom."""
    return scope.value if is_operators else f"organization:{scope}"


@dataclass(frozen=True, slots=True)
class Rotation:
    """How a key is replaced: by one of this new id, beside which it goes on for `overlap`."""

    new_id: str
    overlap: timedelta
    expires_at: datetime | None = None


def rotated_id(key_id: str, caller: str, idempotency_key: str) -> str:
    """Name what a caller has a key replaced by under this Idempotency-Key: always the same."""
    return hashlib.sha256(f"{key_id} {caller} {idempotency_key}".encode()).hexdigest()[:16]


def expiry(
    wanted: datetime | None, maker: ApiKey | None, now: datetime, before: datetime | None = None
) -> datetime | None:
    """Return until when a new key is good; None for as long as nobody revokes it.

    Without a wish it is as long as the one `before` it. No key outlives the one that it is made
    with, or whoever has a key for a week would have one for ever. Raise InvalidExpiry.
    """
    most = None if maker is None else maker.expires_at
    if wanted is None:
        return min((one for one in (before, most) if one is not None), default=None)
    if not now < wanted <= now + LONGEST_LIFE:
        raise InvalidExpiry(f"expires_at is within {LONGEST_LIFE.days} days from now, or left out")
    if most is not None and wanted > most:
        raise InvalidExpiry(f"no key outlives the one it is made with, which ends at {most}")
    return wanted
