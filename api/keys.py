"""The keys that callers show: looked up in the database, of which wrong ones get little.

A good key is never refused for the address that it comes from. So it is looked up wherever it comes
from; but only keys that were good of late are looked up without taking turns.

Who asks faster than he may is answered in turn, and refused beyond two seconds of turns. All wait
for one loop: one client that asks without a pause would make the webhooks of others late.
"""

import asyncio
import hashlib
import ipaddress
import time
from collections import OrderedDict

from fastapi import Request
from fastapi.security.utils import get_authorization_scheme_param
from sqlalchemy.ext.asyncio import AsyncEngine

from api.http.problems import Unauthorized, Unavailable
from api.http.rate_limits import RateLimit, TooManyRequests
from api.key_uses import KeyUses
from billing.errors import BillingError
from billing.organizations import KEY_PREFIX, ApiKey
from store.organizations import api_keys

# So many keys that nobody knows are looked up at once, and of addresses that have shown too many
# wrong ones; the rest wait so long for their turn.
UNKNOWN_AT_ONCE, SUSPECTS_AT_ONCE = 2, 1
TURN_SECONDS = 5.0
MOST_WAITING = 50
PATIENCE_SECONDS = 2.0
# To read what is no request costs more than to answer one.
REFUSED_TURNS = 10
# A secret is of 256 random bits: what was wrong is not going to be a key. Unless the database is
# another by then.
_WRONG_FOR_SECONDS = 60.0
_MOST_REMEMBERED = 10_000
_IPV6_NETWORK = 64


class Keys:
    """Whose key a request shows. What is remembered of keys is a hash."""

    def __init__(
        self,
        engine: AsyncEngine,
        uses: KeyUses,
        wrong_keys_per_minute: int,
        requests_per_second: int,
    ) -> None:
        self._engine, self._uses = engine, uses
        self._wrong_keys = RateLimit(wrong_keys_per_minute)
        self._requests = RateLimit(requests_per_second, seconds=1.0)
        self._unknown = asyncio.Semaphore(UNKNOWN_AT_ONCE)
        self._suspects = asyncio.Semaphore(SUSPECTS_AT_ONCE)
        self._waiting = 0
        self._good: OrderedDict[bytes, float] = OrderedDict()
        self._wrong: OrderedDict[bytes, float] = OrderedDict()

    async def authenticate(self, request: Request) -> ApiKey:
        """Return the API key that a request shows.

        Raise Unauthorized, and TooManyRequests for the wrong keys of an address, and for who asks
        too fast.
        """
        scheme, shown = get_authorization_scheme_param(request.headers.get("authorization"))
        address = address_of(request)
        if not shown:
            await self._turn(address)
            raise Unauthorized("send an API key: `Authorization: Bearer cw_…`")
        prefix, _, rest = shown.partition("_")
        key_id, _, secret = rest.partition("_")
        if scheme.lower() != "bearer" or prefix != KEY_PREFIX or not secret:
            raise await self._refusal(address, "this is no API key: `Authorization: Bearer cw_…`")
        key = await self._look_up(address, key_id, secret)
        if key is None:
            raise await self._refusal(address, "the API key is unknown, revoked or expired")
        self._uses.note(key)
        return key

    async def _look_up(self, address: str, key_id: str, secret: str) -> ApiKey | None:
        """Return the key, or None. Raise TimeoutError if there is no turn for one nobody knows.

        Raise TooManyRequests for one that asks too fast, and Unavailable if too many wait.
        """
        digest = _digest(f"{key_id}_{secret}")
        now = time.monotonic()
        if digest in self._wrong and now < self._wrong[digest] + _WRONG_FOR_SECONDS:
            return None
        if digest in self._good:
            await self._turn(digest.hex())
            key = await self._ask(key_id, secret)
        else:
            is_suspect = self._wrong_keys.wait_seconds(address, now) > 0
            key = await self._ask_in_turn(
                self._suspects if is_suspect else self._unknown, key_id, secret
            )
        self._good.pop(digest, None)
        _remember(self._wrong if key is None else self._good, digest)
        return key

    async def _ask_in_turn(
        self, turns: asyncio.Semaphore, key_id: str, secret: str
    ) -> ApiKey | None:
        if self._waiting >= MOST_WAITING:
            raise Unavailable("too many unknown keys are looked up just now")
        self._waiting += 1
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await turns.acquire()
        finally:
            self._waiting -= 1
        try:
            return await self._ask(key_id, secret)
        finally:
            turns.release()

    async def _ask(self, key_id: str, secret: str) -> ApiKey | None:
        async with self._engine.connect() as connection:
            return await api_keys.authenticate(connection, key_id, secret)

    def refused(self, request: Request) -> None:
        """Count a request of a good key that could not be read as ten."""
        shown = get_authorization_scheme_param(request.headers.get("authorization"))[1]
        name = _digest(shown.partition("_")[2]).hex()
        self._requests.count(name, time.monotonic(), REFUSED_TURNS - 1)

    async def _turn(self, name: str) -> None:
        """Wait until it is this one's turn. Raise TooManyRequests if too many are before it."""
        wait = self._requests.take(name, time.monotonic(), PATIENCE_SECONDS)
        if wait > PATIENCE_SECONDS:
            raise TooManyRequests("this is asked faster than it is answered", wait)
        if wait:
            await asyncio.sleep(wait)

    async def _refusal(self, address: str, detail: str) -> BillingError:
        await self._turn(address)
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


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="replace")).digest()


def _remember(digests: OrderedDict[bytes, float], digest: bytes) -> None:
    digests[digest] = time.monotonic()
    if len(digests) > _MOST_REMEMBERED:
        digests.popitem(last=False)
