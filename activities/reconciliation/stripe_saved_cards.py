"""Compare the cards and customers that are kept here with those that Stripe has."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection
from stripe import (
    AuthenticationError,
    PermissionError,  # noqa: A004
    RateLimitError,
    StripeClient,
    StripeError,
)
from temporalio import activity

from activities.payments.stripe_customers import is_deleted
from activities.payments.stripe_saved_cards import card_of
from billing.reconciliation.card_comparison import (
    CardAtStripe,
    CustomerState,
    Recharged,
    compare_card,
)
from billing.reconciliation.reconciliation import Finding
from store.payments import customers, saved_cards

# Each takes two requests.
PAGE = 50
# If Stripe answers for none of a page, that is an outage: then the page is tried again, so often.
_TRIES = 3
# What is not about one customer.
_OF_ALL = (AuthenticationError, PermissionError, RateLimitError)


@dataclass(frozen=True, slots=True)
class LookedAt:
    """An organisation as it is kept, what Stripe has of it, and how the two differ."""

    ours: Recharged
    theirs: CardAtStripe
    finding: Finding | None


async def look_at_cards(
    client: StripeClient, page: Sequence[Recharged], now: datetime, *, dry_run: bool
) -> list[LookedAt]:
    """Read the customer and card of each; raise the SDK's StripeError.

    A failure that is one customer's own is a finding, and stops no other. In a dry run Stripe is
    told nothing, either.
    """
    seen: list[LookedAt] = []
    failure: StripeError | None = None
    for ours in page:
        activity.heartbeat()
        try:
            theirs = await _read(client, ours, dry_run=dry_run)
        except StripeError as failed:
            if isinstance(failed, _OF_ALL):
                raise
            theirs, failure = _unread(failed), failed
        seen.append(LookedAt(ours, theirs, compare_card(ours, theirs, now)))
    is_unread = all(one.theirs.state is CustomerState.UNREAD for one in seen)
    if failure is not None and is_unread and activity.info().attempt < _TRIES:
        raise failure
    return seen


async def mend(connection: AsyncConnection, seen: Sequence[LookedAt]) -> None:
    """Keep what Stripe has; forget a customer that was deleted there.

    A customer of whom Stripe knows nothing is kept: the key may be of another account.
    """
    for one in seen:
        org_id, customer_id = one.ours.org_id, one.ours.customer_id
        if customer_id is None or one.theirs.state in (CustomerState.UNKNOWN, CustomerState.UNREAD):
            continue
        await saved_cards.seen(connection, org_id, customer_id, one.theirs.card, one.ours.kept)
        if one.theirs.state is CustomerState.DELETED:
            await customers.forget(connection, org_id, customer_id)


async def _read(client: StripeClient, ours: Recharged, *, dry_run: bool) -> CardAtStripe:
    if ours.customer_id is None:
        return CardAtStripe(CustomerState.UNKNOWN)
    customer = await client.v1.customers.retrieve_async(ours.customer_id)
    if is_deleted(customer):
        return CardAtStripe(CustomerState.DELETED)
    wanted = ours.kept.wanted if ours.kept and not dry_run else None
    return CardAtStripe(CustomerState.THERE, await card_of(client, customer, wanted))


def _unread(failure: StripeError) -> CardAtStripe:
    is_missing = failure.code == "resource_missing"
    state = CustomerState.UNKNOWN if is_missing else CustomerState.UNREAD
    return CardAtStripe(state, problem=str(failure))
