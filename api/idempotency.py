"""Let requests that move money act once: a repeated request gets the first answer again.

This follows the IETF's draft of the Idempotency-Key header
(draft-ietf-httpapi-idempotency-key-header), but answers 409, not 422, to a key that was used for
another request.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel, TypeAdapter
from sqlalchemy.ext.asyncio import AsyncEngine

from api.dependencies import Engine, Key
from api.http.problems import IDEMPOTENCY_KEY, IdempotencyKeyInUse, IdempotencyKeyReused
from store import idempotency
from store.idempotency import Answer

# Longer than a request may take. A process that has not answered by then has died.
LEASE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Once:
    """One caller's request under their `key`, to the endpoint of `path`.

    A key that replaces another is the same caller.
    """

    engine: AsyncEngine
    caller: str
    key: str
    path: str

    async def answer(self, body: BaseModel, act: Callable[[], Awaitable[Answer]]) -> Response:
        """Act and keep the answer, or return the answer that was kept.

        `act` must be safe to repeat: if the process dies between the effect and the answer, the
        same request acts again after a minute. What `act` raises is not kept. Raise
        IdempotencyKeyReused and IdempotencyKeyInUse.
        """
        request_sha256 = self._digest(body)
        async with self.engine.begin() as connection:
            claim = await idempotency.claim(
                connection, self.caller, self.key, request_sha256, LEASE
            )
        if claim.request_sha256 != request_sha256:
            raise IdempotencyKeyReused("this key came with another request; make a new one up")
        if claim.is_mine:
            return sent(await self._act(act))
        if claim.answer is None:
            raise IdempotencyKeyInUse("the same request is being acted on; ask again in a moment")
        return sent(claim.answer)

    async def _act(self, act: Callable[[], Awaitable[Answer]]) -> Answer:
        answer = None
        try:
            answer = await act()
        finally:
            async with self.engine.begin() as connection:
                await idempotency.give_back(connection, self.caller, self.key, answer)
        return answer

    def _digest(self, body: BaseModel) -> str:
        """Digest what a request means, whatever its spaces, its order, or defaults written out."""
        meant = f"{self.path}\n{body.model_dump_json(exclude_defaults=True)}"
        return hashlib.sha256(meant.encode()).hexdigest()


def _header(description: str) -> Any:
    return Header(alias=IDEMPOTENCY_KEY, pattern=r"^[\x21-\x7e]{1,255}$", description=description)


async def once(
    request: Request,
    engine: Engine,
    key: Key,
    idempotency_key: Annotated[
        str, _header("Of the caller's own making; the same for the same request sent again")
    ],
) -> Once:
    """Read the key of a request that must act once."""
    return Once(engine, key.caller, idempotency_key, request.url.path)


async def once_if_asked(
    request: Request,
    engine: Engine,
    key: Key,
    idempotency_key: Annotated[
        str | None,
        _header("Of the caller's own making: the same request again is the same decision"),
    ] = None,
) -> Once | None:
    """Read the key of a request that acts once if its sender gives a key; None without one."""
    if idempotency_key is None:
        return None
    return Once(engine, key.caller, idempotency_key, request.url.path)


ActsOnce = Annotated[Once, Depends(once)]
MayActOnce = Annotated[Once | None, Depends(once_if_asked)]


def answer(status: int, value: Any) -> Answer:
    """Return an answer in the form in which it is sent and kept."""
    return Answer(status, TypeAdapter(type(value)).dump_json(value).decode())


def as_response(status: int, value: Any) -> Response:
    """Return the same as a response, where nothing is kept."""
    return sent(answer(status, value))


def sent(answer: Answer) -> Response:
    """Return what is sent of an answer."""
    return Response(answer.body, status_code=answer.status, media_type="application/json")
