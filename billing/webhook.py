"""A webhook as the inbox keeps it: who sent it, what makes it one event, and when it is due."""

from dataclasses import dataclass
from enum import StrEnum

from billing.call import EndedCall

# An event in the one-workflow lane whose workflow has not settled it by now is looked at again.
OWN_LANE_GRACE_SECONDS = 15.0
# A batch that could not settle an event gives the workflow that it hands it to this long.
HANDED_OVER_GRACE_SECONDS = 60.0


class Source(StrEnum):
    """Who sends webhooks."""

    STRIPE = "stripe"
    VAPI = "vapi"


class EventStatus(StrEnum):
    """Waiting until its effect is in the ledger or in a workflow that waits; or ignored."""

    WAITING = "waiting"
    HANDLED = "handled"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """A verified webhook.

    `key` makes it one event: `evt_…` at Stripe, `{call id}:{message type}` at Vapi, which has no
    event ids. `subject` is the payment or the call that it is about. `call` are the facts of an
    end-of-call report. `due_in_seconds` is how long the drain leaves it to its own workflow.
    """

    source: Source
    key: str
    type: str
    subject: str
    body: str
    status: EventStatus = EventStatus.WAITING
    due_in_seconds: float = 0.0
    call: EndedCall | None = None
