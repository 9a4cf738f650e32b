"""API keys. Only a SHA-256 of the secret, which is 256 random bits, is kept."""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.errors import NotFound
from billing.organizations import KEY_PREFIX, ApiKey, Scope
from store.database.pages import in_order
from store.schema import api_keys as table

_PUBLIC = (
    table.c.key_id,
    table.c.scope,
    table.c.org_id,
    table.c.label,
    table.c.created_at,
    table.c.revoked_at,
    table.c.made_by,
)


async def issue(
    connection: AsyncConnection, label: str, org_id: str | None, made_by: str | None = None
) -> tuple[ApiKey, str]:
    """Make a key of 256 random bits, and keep its hash. Return the key, and its text for once.

    `made_by` is the key of whoever asks for it; None for who does so beside the database.
    """
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    key = await create(connection, key_id, secret, org_id, label, made_by)
    return key, f"{KEY_PREFIX}_{key_id}_{secret}"


async def create(  # noqa: PLR0917  (what a key is made of)
    connection: AsyncConnection,
    key_id: str,
    secret: str,
    org_id: str | None,
    label: str,
    made_by: str | None = None,
) -> ApiKey:
    """Keep a new key: of one organisation, or of an operator if `org_id` is None."""
    scope = Scope.OPERATOR if org_id is None else Scope.ORGANIZATION
    values: dict[str, str | None] = {"key_id": key_id, "secret_sha256": _digest(secret)}
    values |= {"label": label, "made_by": made_by}
    made = await connection.execute(
        insert(table).values(**values, scope=scope, org_id=org_id).returning(*_PUBLIC)
    )
    return _api_key(made.one())


async def authenticate(connection: AsyncConnection, key_id: str, secret: str) -> ApiKey | None:
    """Return the key with this id and secret, unless it is revoked; None without one.

    Hashes are compared in constant time, so that the time taken says nothing about the secret.
    """
    query = select(*_PUBLIC, table.c.secret_sha256).where(
        table.c.key_id == key_id, table.c.revoked_at.is_(None)
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None or not hmac.compare_digest(row.secret_sha256, _digest(secret)):
        return None
    return _api_key(row[: len(_PUBLIC)])


async def makers(connection: AsyncConnection, key_id: str) -> set[str]:
    """Return the key that a key was made with, the key that made that one, and so on."""
    made = select(table.c.made_by).where(table.c.key_id == key_id).cte(recursive=True)
    made = made.union(select(table.c.made_by).join(made, table.c.key_id == made.c.made_by))
    found = await connection.execute(select(made.c.made_by).where(made.c.made_by.is_not(None)))
    return set(found.scalars())


async def kin(connection: AsyncConnection, key_id: str) -> set[str]:
    """Return a key with its makers, and with all that was made with it: one person's keys."""
    made = select(table.c.key_id).where(table.c.key_id == key_id).cte(recursive=True)
    made = made.union(select(table.c.key_id).join(made, table.c.made_by == made.c.key_id))
    found = await connection.execute(select(made.c.key_id))
    return {key_id, *found.scalars(), *await makers(connection, key_id)}


async def page(connection: AsyncConnection, after: str | None, limit: int) -> list[ApiKey]:
    """List keys by id, revoked ones too, from the one after `after`."""
    query = in_order(select(*_PUBLIC), table.c.key_id, after, limit)
    return [_api_key(row) for row in await connection.execute(query)]


async def revoke(connection: AsyncConnection, key_id: str) -> None:
    """Revoke a key from now on; raise NotFound. A key that was revoked before keeps its time."""
    done = await connection.execute(
        update(table)
        .where(table.c.key_id == key_id)
        .values(revoked_at=func.coalesce(table.c.revoked_at, func.now()))
    )
    if not done.rowcount:
        raise NotFound(f"there is no key {key_id}")


def _api_key(row: Sequence[Any]) -> ApiKey:
    key_id, scope, *others = row
    return ApiKey(key_id, Scope(scope), *others)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
