"""API keys: only a SHA-256 of the (256-bit random) secret is kept."""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.errors import NotFound
from billing.organization import ApiKey, Scope
from store.schema import api_keys as table

_PUBLIC = (
    table.c.key_id,
    table.c.scope,
    table.c.org_id,
    table.c.label,
    table.c.created_at,
    table.c.revoked_at,
)


async def create(
    connection: AsyncConnection, key_id: str, secret: str, org_id: str | None, label: str
) -> ApiKey:
    """Keep a new key: of one organisation, or of an operator when `org_id` is None."""
    scope = Scope.OPERATOR if org_id is None else Scope.ORGANIZATION
    values = {"key_id": key_id, "secret_sha256": _digest(secret), "label": label}
    made = await connection.execute(
        insert(table).values(**values, scope=scope, org_id=org_id).returning(*_PUBLIC)
    )
    return _api_key(made.one())


async def authenticate(connection: AsyncConnection, key_id: str, secret: str) -> ApiKey | None:
    """Find the live key with this id and secret; compares in constant time."""
    query = select(*_PUBLIC, table.c.secret_sha256).where(
        table.c.key_id == key_id, table.c.revoked_at.is_(None)
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None or not hmac.compare_digest(row.secret_sha256, _digest(secret)):
        return None
    return _api_key(row[: len(_PUBLIC)])


async def page(connection: AsyncConnection, after: str | None, limit: int) -> list[ApiKey]:
    """List keys by id, revoked ones too, from the one after `after`."""
    query = select(*_PUBLIC).order_by(table.c.key_id).limit(limit)
    if after is not None:
        query = query.where(table.c.key_id > after)
    return [_api_key(row) for row in await connection.execute(query)]


async def revoke(connection: AsyncConnection, key_id: str) -> None:
    """Make a key useless from now on; raises NotFound. Revoking twice is once."""
    done = await connection.execute(
        update(table)
        .where(table.c.key_id == key_id)
        .values(revoked_at=func.coalesce(table.c.revoked_at, func.now()))
    )
    if not done.rowcount:
        raise NotFound(f"there is no key {key_id}")


def _api_key(row: Sequence[Any]) -> ApiKey:
    key_id, scope, org_id, label, created_at, revoked_at = row
    return ApiKey(key_id, Scope(scope), org_id, label, created_at, revoked_at)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
