"""What Stripe lists of a time, list after list, as places where the ledger may differ.

No list has them all: a payment is named by its own metadata or by its checkout session; it may
succeed, be refunded or be disputed long after it was created, and then only an event is recent.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any

from stripe import StripeClient, StripeObject

from billing.ledger import payment_credit_key, refund_key, reversal_key
from billing.payment import OUR_PAYMENT_TYPES
from billing.reconciliation import Window
from billing.returns import UNDONE

# Stripe's largest.
PAGE = 100
# A session can be paid as long as it is open, and its payment is younger than it is.
_SESSION_LIFE = timedelta(days=1)
# Of what happens long after something was created; Stripe lists events of 30 days.
_LATE_EVENTS = (
    "payment_intent.succeeded",
    "refund.updated",
    "refund.failed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
)

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Item:
    """Something listed, about a payment. It calls for an entry of this key; None: for some entry.

    `is_counted` says whether it is one of the things that are reconciled, or only points at one.
    `org_id` is whose it says that it is, if it says so.
    """

    payment_id: str
    created_at: datetime
    key: str | None = None
    is_counted: bool = True
    org_id: str | None = None

    @property
    def is_payment(self) -> bool:
        """Whether it calls for the payment's own credit."""
        return self.key == payment_credit_key(self.payment_id)


@dataclass(frozen=True, slots=True)
class Listed:
    """A page, where the next one begins, and how far into the past this one reaches.

    Only the first list says how far: the others go over the same time again.
    """

    items: Sequence[Item]
    next_place: str | None
    reached: datetime | None = None


@dataclass(frozen=True, slots=True)
class _List:
    """One of Stripe's lists: the client's service for it, and what an object on it points at."""

    service: str
    item: Callable[[Object], Item | None]
    more: Mapping[str, Any] = field(default_factory=dict)
    earlier: timedelta = timedelta()


def _payment(intent: Object) -> Item | None:
    """Take a payment that says itself that it is ours."""
    if intent["status"] != "succeeded" or not _is_named(intent):
        return None
    return _credited(intent, (intent.get("metadata") or {}).get("org_id"))


def _session(session: Object) -> Item | None:
    """Take the payment of a session, if only the session says that it is ours."""
    intent = session["payment_intent"]
    if intent is None or intent["status"] != "succeeded" or _is_named(intent):
        return None
    metadata = session.get("metadata") or {}
    org_id = session.get("client_reference_id") or metadata.get("org_id")
    return _credited(intent, org_id) if org_id else None


def _refund(refund: Object) -> Item | None:
    key = refund_key(refund["id"])
    is_undone = refund["status"] in UNDONE
    return _about(refund, reversal_key(key) if is_undone else key)


def _dispute(dispute: Object) -> Item | None:
    return _about(dispute, None)


def _event(event: Object) -> Item | None:
    about = event["data"]["object"]
    if event["type"] == "payment_intent.succeeded":
        item = _payment(about)
        return item and replace(item, is_counted=False)
    payment_id = about.get("payment_intent")
    created_at = _moment(event["created"])
    return Item(payment_id, created_at, is_counted=False) if payment_id else None


_LISTS: Mapping[str, _List] = {
    "payment_intents": _List("v1.payment_intents", _payment),
    "sessions": _List(
        "v1.checkout.sessions",
        _session,
        {"expand": ["data.payment_intent"]},
        earlier=_SESSION_LIFE,
    ),
    "refunds": _List("v1.refunds", _refund),
    "disputes": _List("v1.disputes", _dispute),
    "events": _List("v1.events", _event, {"types": list(_LATE_EVENTS)}),
}
FIRST = next(iter(_LISTS))


async def list_page(client: StripeClient, window: Window, place: str, *, after_last: str) -> Listed:
    """Read one page; a place is a list and the id below which to go on, `refunds:re_123`.

    After the last page of the last list comes `after_last`. Raises the SDK's StripeError.
    """
    name, _, below = place.partition(":")
    wanted = _LISTS[name]
    created = {"gte": int((window.since - wanted.earlier).timestamp())}
    params = {"limit": PAGE, "created": created | {"lte": int(window.until.timestamp())}}
    params |= {**wanted.more, **({"starting_after": below} if below else {})}
    answer = await attrgetter(wanted.service)(client).list_async(params)
    objects = [_plain(one) for one in answer.data]
    items = [item for one in objects if (item := wanted.item(one)) is not None]
    next_place = f"{name}:{objects[-1]['id']}" if answer.has_more else _after(name, after_last)
    reached = _moment(objects[-1]["created"]) if objects and name == FIRST else None
    return Listed(items, next_place, reached)


def _after(name: str, after_last: str) -> str:
    names = [*_LISTS, after_last]
    return names[names.index(name) + 1]


def _is_named(intent: Object) -> bool:
    """Say whether its metadata makes it ours: a type of ours, or an organisation and no type."""
    metadata = intent.get("metadata") or {}
    named = metadata.get("type")
    return named in OUR_PAYMENT_TYPES or (named is None and "org_id" in metadata)


def _credited(intent: Object, org_id: str | None) -> Item:
    key = payment_credit_key(intent["id"])
    return Item(intent["id"], _moment(intent["created"]), key, org_id=org_id)


def _about(listed: Object, key: str | None) -> Item | None:
    payment_id = listed["payment_intent"]
    return Item(payment_id, _moment(listed["created"]), key) if payment_id else None


def _plain(listed: StripeObject) -> Object:
    plain: Object = listed.to_dict()
    return plain


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
