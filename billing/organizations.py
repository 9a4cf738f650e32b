"""Who pays: organisations, the numbers and assistants that are theirs, and keys to the API."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

# Every key to the API begins with this.
KEY_PREFIX = "cw"


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
    """What an API key may do: everything, or what concerns one organisation."""

    OPERATOR = "operator"
    ORGANIZATION = "organization"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key to the API, without its secret; only a hash of that is kept.

    `made_by` is the key it was made with; None for one that was made beside the database.
    """

    key_id: str
    scope: Scope
    org_id: str | None
    label: str
    created_at: datetime
    revoked_at: datetime | None = None
    made_by: str | None = None

    def reaches(self, org_id: str | None) -> bool:
        """Whether it may have what is an organisation's: an operator's may, and its own.

        What is nobody's (None) only an operator's may.
        """
        is_its_own = org_id is not None and org_id == self.org_id
        return is_its_own or self.scope is Scope.OPERATOR
