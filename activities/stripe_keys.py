"""Create one thing at Stripe, however often and with whatever failures it is asked for."""

from collections.abc import Awaitable, Callable
from itertools import count
from typing import TypeVar

from stripe import APIError, RequestOptions

Made = TypeVar("Made")


async def create_once(
    key: str,
    create: Callable[[RequestOptions], Awaitable[Made]],
    find: Callable[[], Awaitable[Made | None]],
) -> Made:
    """Create under an idempotency key; `find` looks whether it exists, in Stripe's lists.

    A failure that Stripe has stored under a key is replayed for a day, whether the work was done or
    not (docs.stripe.com/api/idempotent_requests). So what it hides is looked up; if there is
    nothing, the next key is made of this one and the number of the failure, the same at every try.
    That is for what may exist twice without harm, such as a session that nobody was shown; a charge
    may not. Raises the SDK's StripeError.
    """
    for number in count():
        try:
            return await create({"idempotency_key": f"{key}:{number}" if number else key})
        except APIError as failure:
            if not _is_replayed(failure):
                raise
        if (found := await find()) is not None:
            return found
    raise AssertionError("there is always another number")


def _is_replayed(failure: APIError) -> bool:
    headers = {name.lower(): value for name, value in (failure.headers or {}).items()}
    return headers.get("idempotent-replayed") == "true"
