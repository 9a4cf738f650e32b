"""How well messages arrive: how many of a period came to which end."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from billing.messages.message import MessageStatus


@dataclass(frozen=True, slots=True)
class Delivery:
    """Messages by what became of them; each is in one count.

    `pending` have not left Twilio yet, `sent` wait for word of the handset (some carriers send
    none), `delivered` include those that were read, `failed` those that were canceled.
    `rate_percent` is the share of `delivered` in all of which the end is known, rounded down to
    two places; 100 when there are none.
    """

    pending: int
    sent: int
    delivered: int
    undelivered: int
    failed: int
    rate_percent: Decimal


def delivery(counts: Mapping[MessageStatus, int]) -> Delivery:
    """Return what became of messages, from how many have each status."""
    delivered = _sum(counts, MessageStatus.DELIVERED, MessageStatus.READ)
    undelivered = _sum(counts, MessageStatus.UNDELIVERED)
    failed = _sum(counts, MessageStatus.FAILED, MessageStatus.CANCELED)
    sent = _sum(counts, MessageStatus.SENT)
    return Delivery(
        pending=sum(counts.values()) - sent - delivered - undelivered - failed,
        sent=sent,
        delivered=delivered,
        undelivered=undelivered,
        failed=failed,
        rate_percent=_percent(delivered, delivered + undelivered + failed),
    )


def _sum(counts: Mapping[MessageStatus, int], *statuses: MessageStatus) -> int:
    return sum(counts.get(status, 0) for status in statuses)


def _percent(part: int, whole: int) -> Decimal:
    return Decimal(part * 100 * 100 // whole if whole else 100 * 100).scaleb(-2)
