"""Requests that move money act once: the same request again gets the same answer again.

After the IETF's draft of the Idempotency-Key header (draft-ietf-httpapi-idempotency-key-header),
with 409 where it says 422 for a key that was used for something else.
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
from api.problems import IDEMPOTENCY_KEY, IdempotencyKeyInUse, IdempotencyKeyReused
from store import idempotency
from store.idempotency import Answer

# Longer than a request may take: whoever has not answered by then never will.
LEASE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Once:
    """One caller's request under their `key`; `path` is what is asked to act on it."""

    engine: AsyncEngine
    caller: str
    key: str
    path: str

    async def answer(self, body: BaseModel, act: Callable[[], Awaitable[Answer]]) -> Response:
        """Act and keep the answer, or give the one that was kept.

        `act` must be able to go where it was before: a process that dies between the effect and
        the answer leaves the same request to be acted on again, after a minute. What it raises is
        not kept. Raises IdempotencyKeyReused and IdempotencyKeyInUse.
        """
        request_sha256 = self._digest(body)
        async with self.engine.begin() as connection:
            claim = await idempotency.claim(
                connection, self.caller, self.key, request_sha256, LEASE
            )
        if claim.request_sha256 != request_sha256:
            raise IdempotencyKeyReused("this key came with another request; make a new one up")
        if claim.is_mine:
            return _response(await self._act(act))
        if claim.answer is None:
            raise IdempotencyKeyInUse("the same request is being acted on; ask again in a moment")
        return _response(claim.answer)

    async def _act(self, act: Callable[[], Awaitable[Answer]]) -> Answer:
        answer = None
        try:
            answer = await act()
        finally:
            async with self.engine.begin() as connection:
                await idempotency.give_back(connection, self.caller, self.key, answer)
        return answer

    def _digest(self, body: BaseModel) -> str:
        """Tell requests apart by what they mean: not by spaces, order, or defaults written out."""
        meant = f"{self.path}\n{body.model_dump_json(exclude_defaults=True)}"
        return hashlib.sha256(meant.encode()).hexdigest()


async def once(
    request: Request,
    engine: Engine,
    key: Key,
    idempotency_key: Annotated[
        str,
        Header(
            alias=IDEMPOTENCY_KEY,
            pattern=r"^[\x21-\x7e]{1,255}$",
            description="Of the caller's own making; the same for the same request sent again",
        ),
    ],
) -> Once:
    """Take the key of a request that must act once."""
    return Once(engine, key.key_id, idempotency_key, request.url.path)


ActsOnce = Annotated[Once, Depends(once)]


def answer(status: int, value: Any) -> Answer:
    """Write an answer as it will be sent, now and again."""
    return Answer(status, TypeAdapter(type(value)).dump_json(value).decode())


def _response(answer: Answer) -> Response:
    return Response(answer.body, status_code=answer.status, media_type="application/json")
