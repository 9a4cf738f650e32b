"""Who pays: organisations, the numbers and assistants that are theirs, and keys to the API."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Organization:
    """A tenant of the platform."""

    org_id: str
    name: str
    created_at: datetime


class AgentKind(StrEnum):
    """What of Vapi's, or of Twilio's, names an organisation."""

    ASSISTANT = "assistant"
    PHONE_NUMBER = "phone_number"
    SMS_NUMBER = "sms_number"
    MESSAGING_SERVICE = "messaging_service"


# What calls come in by, and what sends messages.
ANSWERERS = (AgentKind.ASSISTANT, AgentKind.PHONE_NUMBER)
SENDERS = (AgentKind.SMS_NUMBER, AgentKind.MESSAGING_SERVICE)


@dataclass(frozen=True, slots=True)
class Agent:
    """A Vapi assistant or phone number, or a sender of messages, registered to an organisation.

    `answered_by` is the assistant that answers a number whose callers pass the gate.
    """

    agent_id: str
    kind: AgentKind
    org_id: str
    created_at: datetime
    answered_by: str | None = None


class Scope(StrEnum):
    """What an API key may do: everything, or what concerns one organisation."""

    OPERATOR = "operator"
    ORGANIZATION = "organization"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key to the API, without its secret; only a hash of that is kept."""

    key_id: str
    scope: Scope
    org_id: str | None
    label: str
    created_at: datetime
    revoked_at: datetime | None = None
