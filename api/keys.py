"""The keys that callers show: looked up in the database, of which wrong ones get little.

A good key is never refused for the address that it comes from. So it is looked up wherever it comes
from; but only keys that were good of late are looked up without taking turns.
"""

import asyncio
import hashlib
import ipaddress
import time
from collections import OrderedDict

from fastapi import Request
from fastapi.security.utils import get_authorization_scheme_param
from sqlalchemy.ext.asyncio import AsyncEngine

from api.http.problems import Unauthorized
from api.http.rate_limits import RateLimit, TooManyRequests
from billing.errors import BillingError
from billing.organizations import KEY_PREFIX, ApiKey
from store.organizations import api_keys

# So many keys that nobody knows are looked up at once, and of addresses that have shown too many
# wrong ones; the rest wait so long for their turn.
UNKNOWN_AT_ONCE, SUSPECTS_AT_ONCE = 2, 1
TURN_SECONDS = 5.0
# A secret is of 256 random bits: what was wrong is not going to be a key. Unless the database is
# another by then.
_WRONG_FOR_SECONDS = 60.0
_MOST_REMEMBERED = 10_000
_IPV6_NETWORK = 64


class Keys:
    """Whose key a request shows. What is remembered of keys is a hash."""

    def __init__(self, engine: AsyncEngine, wrong_keys_per_minute: int) -> None:
        self._engine = engine
        self._wrong_keys = RateLimit(wrong_keys_per_minute)
        self._unknown = asyncio.Semaphore(UNKNOWN_AT_ONCE)
        self._suspects = asyncio.Semaphore(SUSPECTS_AT_ONCE)
        self._good: OrderedDict[bytes, float] = OrderedDict()
        self._wrong: OrderedDict[bytes, float] = OrderedDict()

    async def authenticate(self, request: Request) -> ApiKey:
        """Return the API key that a request shows.

        Raise Unauthorized, and TooManyRequests for the wrong keys of an address.
        """
        scheme, shown = get_authorization_scheme_param(request.headers.get("authorization"))
        if not shown:
            raise Unauthorized("send an API key: `Authorization: Bearer cw_…`")
        address = address_of(request)
        prefix, _, rest = shown.partition("_")
        key_id, _, secret = rest.partition("_")
        if scheme.lower() != "bearer" or prefix != KEY_PREFIX or not secret:
            raise self._refusal(address, "this is no API key: `Authorization: Bearer cw_…`")
        key = await self._look_up(address, key_id, secret)
        if key is None:
            raise self._refusal(address, "the API key is unknown or revoked")
        return key

    async def _look_up(self, address: str, key_id: str, secret: str) -> ApiKey | None:
        """Return the key, or None. Raise TimeoutError if there is no turn for one nobody knows."""
        digest = hashlib.sha256(f"{key_id}_{secret}".encode(errors="replace")).digest()
        now = time.monotonic()
        if digest in self._wrong and now < self._wrong[digest] + _WRONG_FOR_SECONDS:
            return None
        if digest in self._good:
            key = await self._ask(key_id, secret)
        else:
            is_suspect = self._wrong_keys.wait_seconds(address, now) > 0
            turns = self._suspects if is_suspect else self._unknown
            async with asyncio.timeout(TURN_SECONDS):
                await turns.acquire()
            try:
                key = await self._ask(key_id, secret)
            finally:
                turns.release()
        self._good.pop(digest, None)
        _remember(self._wrong if key is None else self._good, digest)
        return key

    async def _ask(self, key_id: str, secret: str) -> ApiKey | None:
        async with self._engine.connect() as connection:
            return await api_keys.authenticate(connection, key_id, secret)

    def _refusal(self, address: str, detail: str) -> BillingError:
        wait = self._wrong_keys.take(address, time.monotonic())
        if wait:
            return TooManyRequests("this address has shown too many wrong keys", wait)
        return Unauthorized(detail)


def address_of(request: Request) -> str:
    """Return whose request it is, as a trusted proxy says. Of IPv6 people have whole networks."""
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host[:_IPV6_NETWORK]
    if address.version == 4:  # noqa: PLR2004
        return host
    return str(ipaddress.ip_network((address, _IPV6_NETWORK), strict=False))


def _remember(digests: OrderedDict[bytes, float], digest: bytes) -> None:
    digests[digest] = time.monotonic()
    if len(digests) > _MOST_REMEMBERED:
        digests.popitem(last=False)
