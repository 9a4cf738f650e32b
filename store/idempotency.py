"""Requests that must act only once, by caller and `Idempotency-Key`, and their answers."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import and_, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from store.schema import idempotency_keys as table


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: its status and its JSON, as they were sent."""

    status: int
    body: str


@dataclass(frozen=True, slots=True)
class Claim:
    """Who acts on a request: the caller, if it `is_mine`. Another's claim may have an `answer`."""

    is_mine: bool
    request_sha256: str
    answer: Answer | None = None


async def claim(
    connection: AsyncConnection, caller: str, key: str, request_sha256: str, lease: timedelta
) -> Claim:
    """Claim a request, unless it is answered or being acted on.

    The process of a claim that is neither answered nor given back within its lease has died. The
    same request may then claim it again.
    """
    values = {"caller": caller, "key": key, "request_sha256": request_sha256}
    new = insert(table).values(**values, claimed_until=func.now() + lease)
    # One statement takes a new claim or one that is left. Of requests that come at once, one gets a
    # row back; the others wait for that row, find it taken, and get none.
    is_left = and_(
        table.c.status.is_(None),
        table.c.claimed_until <= func.now(),
        table.c.request_sha256 == new.excluded.request_sha256,
    )
    taken = await connection.execute(
        new.on_conflict_do_update(
            index_elements=["caller", "key"],
            set_={"claimed_until": new.excluded.claimed_until},
            where=is_left,
        ).returning(table.c.key)
    )
    if taken.first() is not None:
        return Claim(is_mine=True, request_sha256=request_sha256)
    return await _read(connection, caller, key)


async def give_back(
    connection: AsyncConnection, caller: str, key: str, answer: Answer | None
) -> None:
    """Keep the answer for whoever asks the same again. Without one, let them act at once."""
    values = {"status": answer and answer.status, "body": answer and answer.body}
    await connection.execute(
        update(table)
        .where(table.c.caller == caller, table.c.key == key, table.c.status.is_(None))
        .values(**values, claimed_until=func.now())
    )


async def _read(connection: AsyncConnection, caller: str, key: str) -> Claim:
    query = select(table).where(table.c.caller == caller, table.c.key == key)
    row = (await connection.execute(query)).one()
    answer = None if row.status is None else Answer(row.status, row.body)
    return Claim(is_mine=False, request_sha256=row.request_sha256, answer=answer)
