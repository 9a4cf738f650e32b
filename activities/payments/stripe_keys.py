"""Create a thing at Stripe once, however often it is asked for and whatever fails."""

from collections.abc import Awaitable, Callable
from itertools import count
from typing import TypeVar

from stripe import IdempotencyError, RequestOptions, StripeError

from activities.payments.stripe_answers import is_replayed

Made = TypeVar("Made")


async def create_once(
    key: str,
    create: Callable[[RequestOptions], Awaitable[Made | None]],
    find: Callable[[], Awaitable[Made | None]],
) -> Made:
    """Create a thing under an idempotency key; raise the SDK's StripeError.

    Stripe stores an answer under its key and replays it for a day, whether the thing was created or
    not, whether it is still there or not, and whether its cause was mended or not
    (docs.stripe.com/api/idempotent_requests). A key that was used for another request is refused,
    as after the customer in it was replaced. So after a replayed failure or such a refusal `find`
    looks for the thing in Stripe's lists, and `create` answers None if what the key leads to is
    gone. Then it is created under another key. That is made of the first one and of the number of
    keys that are spent, so that every try makes the same keys.

    Use this only for what may exist twice without harm, such as a session that nobody was shown. A
    charge may not.
    """
    for number in count():
        try:
            made = await create({"idempotency_key": f"{key}:{number}" if number else key})
        except StripeError as failure:
            if not _is_spent(failure):
                raise
            made = await find()
        if made is not None:
            return made
    raise AssertionError("there is always another number")


def _is_spent(failure: StripeError) -> bool:
    """Return whether a key leads to nothing any more: its failure is repeated, or it is taken."""
    return isinstance(failure, IdempotencyError) or is_replayed(failure)
