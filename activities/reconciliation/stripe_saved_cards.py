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
from activities.temporal.isolation import Alone, Apart, apart, each_apart
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
) -> Apart[Recharged, LookedAt]:
    """Read the customer and card of each; raise the SDK's StripeError.

    A failure that is one customer's own is a finding, and stops no other. In a dry run Stripe is
    told nothing, either.
    """
    failures = list[StripeError]()

    async def look(ours: Recharged) -> LookedAt:
        try:
            theirs = await _read(client, ours, dry_run=dry_run)
        except StripeError as failed:
            if isinstance(failed, _OF_ALL):
                raise
            failures.append(failed)
            theirs = _unread(failed)
        return LookedAt(ours, theirs, compare_card(ours, theirs, now))

    looked = await each_apart(page, look, _card_of, lambda failure: isinstance(failure, _OF_ALL))
    is_unread = all(one.theirs.state is CustomerState.UNREAD for one in looked.done)
    if failures and is_unread and activity.info().attempt < _TRIES:
        raise failures[-1]
    return looked


async def mend(connection: AsyncConnection, seen: Sequence[LookedAt]) -> Sequence[Alone[LookedAt]]:
    """Keep what Stripe has; forget a customer that was deleted there. Return what failed alone."""

    async def mend_part(part: Sequence[LookedAt]) -> Sequence[LookedAt]:
        async with connection.begin_nested():
            for one in part:
                await _mend(connection, one)
        return part

    mended = await apart(seen, mend_part, lambda one: _card_of(one.ours), one_is_alone=True)
    return mended.failed


async def _mend(connection: AsyncConnection, seen: LookedAt) -> None:
    """Keep what Stripe has of one.

    A customer of whom Stripe knows nothing is kept: the key may be of another account.
    """
    org_id, customer_id = seen.ours.org_id, seen.ours.customer_id
    if customer_id is None or seen.theirs.state in (CustomerState.UNKNOWN, CustomerState.UNREAD):
        return
    await saved_cards.seen(connection, org_id, customer_id, seen.theirs.card, seen.ours.kept)
    if seen.theirs.state is CustomerState.DELETED:
        await customers.forget(connection, org_id, customer_id)


def _card_of(ours: Recharged) -> str:
    return f"the card of {ours.org_id}"


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
