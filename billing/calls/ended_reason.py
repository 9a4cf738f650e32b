"""Why a call ended, in Vapi's words, and which of them make it free.

Source: Vapi's schema, `Call.endedReason`, as its SDK publishes it.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

# What is said never to have connected can have rung for so long, or there is something else to it.
LONGEST_UNCONNECTED_SECONDS = 5

# Part of every reason by which Vapi says that the fault was its own.
PROVIDER_FAULT = "vapifault"
# Nobody was connected to anybody. What was answered by somebody else than was meant, or forwarded,
# is not here: it may have taken time, and says how long.
NEVER_CONNECTED = frozenset(
    {
        "assistant-not-found",
        "assistant-not-valid",
        "assistant-request-failed",
        "assistant-request-returned-error",
        "assistant-request-returned-invalid-assistant",
        "assistant-request-returned-no-assistant",
        "assistant-request-returned-unspeakable-error",
        "call-start-error-neither-assistant-nor-server-set",
        "call.in-progress.error-providerfault-outbound-sip-403-forbidden",
        "call.in-progress.error-providerfault-outbound-sip-407-proxy-authentication-required",
        "call.in-progress.error-providerfault-outbound-sip-408-request-timeout",
        "call.in-progress.error-providerfault-outbound-sip-480-temporarily-unavailable",
        "call.in-progress.error-providerfault-outbound-sip-503-service-unavailable",
        "call.in-progress.error-providerfault-transport-never-connected",
        "call.in-progress.error-sip-inbound-call-failed-to-connect",
        "call.in-progress.error-sip-outbound-call-failed-to-connect",
        "call.in-progress.error-vapifault-transport-never-connected",
        "call.ringing.error-sip-inbound-call-failed-to-connect",
        "call.ringing.sip-inbound-caller-hungup-before-call-connect",
        "call.start.assistant-version-error-validation",
        "call.start.error-enterprise-feature-not-available-recording-consent",
        "call.start.error-fraud-check-failed",
        "call.start.error-get-assistant",
        "call.start.error-get-customer",
        "call.start.error-get-phone-number",
        "call.start.error-get-resources-validation",
        "call.start.error-get-transport",
        "call.start.error-subscription-concurrency-limit-reached",
        "call.start.error-subscription-frozen",
        "call.start.error-subscription-insufficient-credits",
        "call.start.error-subscription-upgrade-failed",
        "call.start.error-subscription-wallet-does-not-exist",
        "call.start.error-vapi-number-international",
        "call.start.error-vapi-number-outbound-daily-limit",
        "call.start.error-vapifault-database-error",
        "call.start.error-vapifault-get-org",
        "call.start.error-vapifault-get-subscription",
        "call.start.error-vapifault-worker-not-available",
        "call.start.squad-version-error-validation",
        "customer-busy",
        "customer-did-not-answer",
        "customer-did-not-give-microphone-permission",
        "phone-call-provider-bypass-enabled-but-no-call-received",
        "scheduled-call-deleted",
        "sip-outbound-unallocated-number",
        "twilio-failed-to-connect-call",
        "twilio-reported-customer-misdialed",
        "vonage-failed-to-connect-call",
        "vonage-rejected",
    }
)


class FreeEnding(StrEnum):
    """What makes a call free: nobody was connected, or the fault was Vapi's own."""

    NEVER_CONNECTED = "never_connected"
    PROVIDER_FAULT = "provider_fault"


@dataclass(frozen=True, slots=True)
class FreeRule:
    """That calls are free which end so, and began at `since` or later, and before `until`."""

    ending: FreeEnding
    since: datetime
    until: datetime | None = None

    def holds(self, ending: FreeEnding, began_at: datetime) -> bool:
        """Return whether it makes a call free that ended so, and began then."""
        is_early = self.until is None or began_at < self.until
        return self.ending is ending and self.since <= began_at and is_early


def why_contradicted(reason: str | None, seconds: Decimal) -> str | None:
    """Say why it is not sure that a call which took so long never connected; None if it is."""
    if 0 <= seconds <= LONGEST_UNCONNECTED_SECONDS:
        return None
    said = f"It is said to have taken {seconds.normalize():f} s"
    return f"{said}, and never to have connected ({reason})."
