"""Read Stripe's lists of a period, one after another, for payments that the ledger may lack.

No list has all of them. A payment is known as ours by its own metadata, or only by its checkout
session. And if it succeeds, is refunded or is disputed long after it was created, then only an
event is recent.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

from stripe import StripeClient, StripeObject

from activities.payments.stripe_answers import LARGEST_PAGE, moment
from activities.temporal.isolation import each_apart
from billing.ledger.entry import payment_credit_key, refund_key, reversal_key
from billing.payments.payment import OUR_PAYMENT_TYPES
from billing.payments.refunds_and_disputes import UNDONE
from billing.reconciliation.reconciliation import Window

PAGE = LARGEST_PAGE
# What Python can make a time of, and PostgreSQL can store: in seconds, the year 9999.
_LATEST = 253_000_000_000
# A session can be paid for a day after its creation, so sessions are listed from a day earlier on.
_SESSION_LIFE = timedelta(days=1)
# Events of what may happen long after something was created. Stripe lists those of 30 days.
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
    """Something in a list that is about a payment. It calls for an entry of this `key`.

    Without a `key` it calls for some entry. `is_counted` is false for what only points at something
    that another list has. `org_id` is the organisation that it names, if it names one,
    `customer_id` is who paid, and `attempt_id` the attempt to charge a card that it names. Without
    `is_named` it does not say that it is ours.
    """

    payment_id: str
    created_at: datetime
    key: str | None = None
    is_counted: bool = True
    org_id: str | None = None
    customer_id: str | None = None
    attempt_id: str | None = None
    is_named: bool = True

    @property
    def is_payment(self) -> bool:
        """Whether it calls for the payment's own credit."""
        return self.key == payment_credit_key(self.payment_id)


@dataclass(frozen=True, slots=True)
class ListPage:
    """A page of a list, where the next page begins, and how far into the past this one reaches.

    `unread` are objects that cannot be read: of which payment they are, if they say so, or else
    their own id; and why. Only pages of the first list say how far. The others go over the same
    period again.
    """

    items: Sequence[Item]
    next_place: str | None
    reached: datetime | None = None
    unread: Sequence["Unread"] = ()


@dataclass(frozen=True, slots=True)
class Unread:
    """An object of a list that cannot be read: its payment, if it names one, its place, and why."""

    payment_id: str | None
    place: str
    problem: str


@dataclass(frozen=True, slots=True)
class _List:
    """One of Stripe's lists: the client's service for it, and how to read an object in it.

    `more` are further parameters. `earlier` is how long before the window the list begins.
    """

    service: str
    item: Callable[[Object], Item | None]
    more: Mapping[str, Any] = field(default_factory=dict)
    earlier: timedelta = timedelta()


def _payment(intent: Object) -> Item | None:
    """Return the item of a payment, whether its own metadata says that it is ours or not.

    One of which only its session may say so is counted there.
    """
    if intent["status"] != "succeeded":
        return None
    item = _credited(intent, (intent.get("metadata") or {}).get("org_id"))
    is_named = _is_named(intent)
    return replace(item, is_named=is_named, is_counted=is_named)


def _session(session: Object) -> Item | None:
    """Return the item of a session's payment, if only the session says that it is ours."""
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
    created_at = moment(event["created"])
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


async def list_page(
    client: StripeClient, window: Window, place: str, *, after_last: str
) -> ListPage:
    """Read one page; raise the SDK's StripeError.

    A `place` is the name of a list and the id below which to go on, such as `refunds:re_123`. The
    place after the last page of the last list is `after_last`.
    """
    name, _, below = place.partition(":")
    wanted = _LISTS[name]
    created = {"gte": int((window.since - wanted.earlier).timestamp())}
    params = {"limit": PAGE, "created": created | {"lte": int(window.until.timestamp())}}
    params |= {**wanted.more, **({"starting_after": below} if below else {})}
    answer = await attrgetter(wanted.service)(client).list_async(params)
    objects = [_plain(one) for one in answer.data]

    async def read(one: Object) -> Item | None:
        try:
            return wanted.item(one)
        except (AttributeError, KeyError, TypeError) as failure:
            raise ValueError(f"no such object as {name} has") from failure

    read_ = await each_apart(objects, read, lambda one: f"{name} {one.get('id')}")
    if len(objects) > 1 and not read_.done:
        raise read_.failed[0].failure
    items = [item for item in read_.done if item is not None]
    unread = [
        Unread(_payment_of(name, one.one), _place_of(one.one, place, number), one.problem)
        for number, one in enumerate(read_.failed, start=1)
    ]
    next_place = f"{name}:{objects[-1]['id']}" if answer.has_more else _after(name, after_last)
    reached = _created(objects[-1]) if objects and name == FIRST else None
    return ListPage(items, next_place, reached, unread)


def _created(listed: Object) -> datetime | None:
    created = listed.get("created")
    return moment(created) if isinstance(created, int) and 0 < created < _LATEST else None


def _payment_of(name: str, listed: Object) -> str | None:
    """Return the payment that something names which cannot be read."""
    named = listed.get("id" if name == FIRST else "payment_intent")
    return named if isinstance(named, str) else None


def _place_of(listed: Object, place: str, number: int) -> str:
    """Return the place of something in a list, by its id, or else by its number on the page."""
    named = listed.get("id")
    return f"{place.partition(':')[0]}:{named}" if named else f"{place}, no. {number}"


def _after(name: str, after_last: str) -> str:
    names = [*_LISTS, after_last]
    return names[names.index(name) + 1]


def _is_named(intent: Object) -> bool:
    """Return whether metadata makes a payment ours: a type of ours, or no type and an `org_id`."""
    metadata = intent.get("metadata") or {}
    named = metadata.get("type")
    return named in OUR_PAYMENT_TYPES or (named is None and "org_id" in metadata)


def _credited(intent: Object, org_id: str | None) -> Item:
    key = payment_credit_key(intent["id"])
    return Item(
        intent["id"],
        moment(intent["created"]),
        key,
        org_id=org_id,
        customer_id=intent.get("customer"),
        attempt_id=(intent.get("metadata") or {}).get("attempt_id"),
    )


def _about(listed: Object, key: str | None) -> Item | None:
    payment_id = listed["payment_intent"]
    return Item(payment_id, moment(listed["created"]), key) if payment_id else None


def _plain(listed: StripeObject) -> Object:
    plain: Object = listed.to_dict()
    return plain
