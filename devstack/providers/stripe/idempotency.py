"""Idempotency keys as Stripe keeps them: the first answer is replayed, even if it is an error.

See docs.stripe.com/api/idempotent_requests. A key belongs to one endpoint and one set of
parameters. A request that fails validation, or whose key is in flight, leaves no trace.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import orjson

from devstack.providers.clock import Clock
from devstack.providers.storage import JsonObject, Row, Storage
from devstack.providers.stripe.errors import StripeError, invalid_request
from devstack.providers.stripe.params import Params

_KIND = "idempotency_key"
_KEPT_MILLISECONDS = 24 * 3600 * 1000


@dataclass(frozen=True)
class Answer:
    """The answer to the first request with a key."""

    status: int
    body: JsonObject
    request_id: str | None
    replayed: bool = False


class IdempotencyKeys:
    """The keys of the last 24 hours, by the stand-in's clock."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock
        self._in_flight: set[str] = set()

    @contextmanager
    def claim(self, key: str | None) -> Iterator[None]:
        """Hold the key while its request is served.

        Raise the StripeError of a 409 if another request holds it. The SDK has no class of its own
        for a 409: its users see a plain APIError.
        """
        if key is None:
            yield
            return
        if key in self._in_flight:
            raise invalid_request(
                "There is currently another in-progress request using this Idempotent Key (that "
                "probably means you submitted twice, and the other request is still going "
                f"through): {key}. Please try again later.",
                status=409,
                code="idempotency_key_in_use",
            )
        self._in_flight.add(key)
        try:
            yield
        finally:
            self._in_flight.discard(key)

    def replay(self, key: str | None, endpoint: str, params: Params) -> Answer | None:
        """Return the first answer, or None for a new key.

        Raise the StripeError of a 400 if the key was used for another request.
        """
        stored = self._storage.get(_KIND, key) if key is not None else None
        if stored is None or stored["at"] + _KEPT_MILLISECONDS <= self._clock.milliseconds():
            return None
        if (stored["endpoint"], stored["params"]) != (endpoint, _fingerprint(params)):
            raise StripeError(
                400,
                "idempotency_error",
                "Keys for idempotent requests can only be used with the same parameters they were "
                "first used with, and for the same endpoint. Try using a key other than "
                f"'{key}' if you meant to execute a different request.",
            )
        return Answer(stored["status"], stored["body"], stored["request_id"], replayed=True)

    def remember(self, key: str | None, endpoint: str, params: Params, answer: Answer) -> None:
        """Keep an answer. Call it in the transaction of the work that it reports."""
        if key is None:
            return
        now = self._clock.milliseconds()
        data = {
            "at": now,
            "endpoint": endpoint,
            "params": _fingerprint(params),
            "status": answer.status,
            "body": answer.body,
            "request_id": answer.request_id,
        }
        self._storage.save(Row(kind=_KIND, id=key, created=now, updated=now, data=data))


def _fingerprint(params: Params) -> str:
    return orjson.dumps(params, option=orjson.OPT_SORT_KEYS).decode()
