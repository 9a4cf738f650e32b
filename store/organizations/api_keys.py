"""API keys. Only a SHA-256 of the secret, which is 256 random bits, is kept."""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, insert, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.errors import Conflict, NotFound
from billing.organizations import KEY_PREFIX, NOTED_EVERY, ApiKey, Rotation, Scope, expiry, widest
from store.database import clock
from store.database.pages import in_order
from store.schema import api_keys as table

# How version 0.1 names what an organisation's key may do, of which there was one kind.
_STORED = {Scope.FULL: "organization"}
_SCOPES = {stored: scope for scope, stored in _STORED.items()}
_PUBLIC = (
    table.c.key_id,
    table.c.scope,
    table.c.org_id,
    table.c.label,
    table.c.created_at,
    table.c.revoked_at,
    table.c.made_by,
    table.c.expires_at,
    table.c.last_used_at,
    table.c.replaces,
    table.c.origin,
)
_IS_GOOD = and_(
    table.c.revoked_at.is_(None),
    or_(table.c.expires_at.is_(None), table.c.expires_at > func.now()),
)
_USE_IS_DUE = or_(table.c.last_used_at.is_(None), table.c.last_used_at < func.now() - NOTED_EVERY)
# Only operators' keys ask and approve, and those are made and rotated with nothing but each other:
# so two operators who have rotated the same organisation's key are two people still.
_OF_ONE_PERSON = text("""
    WITH RECURSIVE linked AS (
        SELECT CAST(:key_id AS text) AS key_id
        UNION
        SELECT other.key_id FROM linked
            JOIN api_keys AS one ON one.key_id = linked.key_id
                OR one.made_by = linked.key_id OR one.origin = linked.key_id,
            LATERAL (VALUES (one.key_id), (one.made_by), (one.origin)) AS other (key_id)
        WHERE one.scope = 'operator' AND other.key_id IS NOT NULL)
    SELECT linked.key_id FROM linked LEFT JOIN api_keys USING (key_id)
    ORDER BY created_at, linked.key_id""")


async def issue(  # noqa: PLR0917  (what a key is made of)
    connection: AsyncConnection,
    label: str,
    org_id: str | None,
    made_by: ApiKey | None = None,
    scope: Scope | None = None,
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Make a key of 256 random bits, and keep its hash. Return the key, and its text for once.

    `made_by` is the key of whoever asks for it; None for who does so beside the database. Without a
    scope it may do as much as there is. Raise InvalidExpiry.
    """
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    until = expiry(expires_at, made_by, await clock.now(connection))
    maker = None if made_by is None else made_by.key_id
    key = await create(connection, key_id, secret, org_id, label, maker, scope, until)
    return key, _text_of(key_id, secret)


async def create(  # noqa: PLR0917  (what a key is made of)
    connection: AsyncConnection,
    key_id: str,
    secret: str,
    org_id: str | None,
    label: str,
    made_by: str | None = None,
    scope: Scope | None = None,
    expires_at: datetime | None = None,
    replaced: ApiKey | None = None,
) -> ApiKey:
    """Keep a new key: of one organisation, or of an operator if `org_id` is None."""
    scope = scope or widest(org_id)
    values = {
        "key_id": key_id,
        "secret_sha256": _digest(secret),
        "scope": _STORED.get(scope, scope.value),
        "org_id": org_id,
        "label": label,
        "made_by": made_by,
        "expires_at": expires_at,
        "replaces": None if replaced is None else replaced.key_id,
        "origin": None if replaced is None else replaced.caller,
    }
    made = await connection.execute(insert(table).values(values).returning(*_PUBLIC))
    return _api_key(made.one())


async def rotate(
    connection: AsyncConnection, key_id: str, rotation: Rotation, made_by: ApiKey | None = None
) -> tuple[ApiKey, str | None]:
    """Replace a key by another, and let it go on for a while. Return the other, and its text.

    There is no text if the same rotation was done before, for it was shown then. Raise NotFound,
    InvalidExpiry, and Conflict: of a key that is replaced the other one is rotated, or whoever has
    stolen the old one would get a new one as well.
    """
    old = await read(connection, key_id, lock=True)
    if (done := await find(connection, rotation.new_id)) is not None:
        return done, None
    now = await clock.now(connection)
    if not old.is_good(now):
        raise Conflict(f"{key_id} is revoked or has expired: make a new one")
    if (other := await _successor(connection, old)) is not None:
        raise Conflict(f"{key_id} is replaced by {other}: rotate or revoke that one first")
    secret = secrets.token_urlsafe(32)
    until = expiry(rotation.expires_at, made_by, now, old.expires_at)
    maker = None if made_by is None else made_by.key_id
    about = (old.org_id, old.label, maker, old.scope, until, old)
    new = await create(connection, rotation.new_id, secret, *about)
    await connection.execute(
        update(table)
        .where(table.c.key_id == key_id)
        .values(expires_at=func.least(table.c.expires_at, now + rotation.overlap))
    )
    return new, _text_of(new.key_id, secret)


async def authenticate(connection: AsyncConnection, key_id: str, secret: str) -> ApiKey | None:
    """Return the key with this id and secret, unless it is revoked or has expired; None without.

    Hashes are compared in constant time, so that the time taken says nothing about the secret.
    """
    query = select(*_PUBLIC, table.c.secret_sha256).where(table.c.key_id == key_id, _IS_GOOD)
    row = (await connection.execute(query)).one_or_none()
    if row is None or not hmac.compare_digest(row.secret_sha256, _digest(secret)):
        return None
    return _api_key(row[: len(_PUBLIC)])


async def used(connection: AsyncConnection, key_id: str) -> None:
    """Write down that a key is used, unless that is done, or somebody holds its row just now."""
    due = select(table.c.key_id).where(table.c.key_id == key_id, _USE_IS_DUE)
    free = due.with_for_update(key_share=True, skip_locked=True).scalar_subquery()
    await connection.execute(
        update(table).where(table.c.key_id == free).values(last_used_at=func.now())
    )


async def read(connection: AsyncConnection, key_id: str, *, lock: bool = False) -> ApiKey:
    """Read a key, if asked so under a lock; raise NotFound."""
    found = await find(connection, key_id, lock=lock)
    if found is None:
        raise NotFound(f"there is no key {key_id}")
    return found


async def find(connection: AsyncConnection, key_id: str, *, lock: bool = False) -> ApiKey | None:
    """Read a key, None when there is none."""
    query = select(*_PUBLIC).where(table.c.key_id == key_id)
    row = (
        await connection.execute(query.with_for_update(key_share=True) if lock else query)
    ).one_or_none()
    return row and _api_key(row)


async def of_one_person(connection: AsyncConnection, key_id: str) -> list[str]:
    """Return the keys that whoever has this one may have too, the oldest first.

    Who makes or rotates a key sees its secret. So these are its makers, what it has replaced, and
    all that was made or rotated with any of them, from whichever of them one looks.
    """
    return list(await connection.scalars(_OF_ONE_PERSON, {"key_id": key_id}))


async def page(
    connection: AsyncConnection, after: str | None, limit: int, org_id: str | None = None
) -> list[ApiKey]:
    """List keys by id, revoked ones too, from the one after `after`: all, or an organisation's.

    Of an organisation's the keys of operators that made them are left out.
    """
    if org_id is None:
        query = select(*_PUBLIC)
    else:
        query = select(*_shown_to_organization()).where(table.c.org_id == org_id)
    rows = await connection.execute(in_order(query, table.c.key_id, after, limit))
    return [_api_key(row) for row in rows]


async def expiring(
    connection: AsyncConnection, within: timedelta, used_within: timedelta
) -> list[ApiKey]:
    """List operators' keys that are in use, have no successor, and soon open nothing any more."""
    successor = table.alias("successor")
    is_replaced = select(successor.c.key_id).where(
        successor.c.origin == func.coalesce(table.c.origin, table.c.key_id),
        successor.c.created_at > table.c.created_at,
        successor.c.revoked_at.is_(None),
    )
    query = select(*_PUBLIC).where(
        table.c.org_id.is_(None),
        _IS_GOOD,
        table.c.expires_at < func.now() + within,
        table.c.last_used_at > func.now() - used_within,
        ~is_replaced.exists(),
    )
    return [_api_key(row) for row in await connection.execute(query.order_by(table.c.key_id))]


async def revoke(connection: AsyncConnection, key_id: str) -> None:
    """Revoke a key from now on; raise NotFound. A key that was revoked before keeps its time."""
    done = await connection.execute(
        update(table)
        .where(table.c.key_id == key_id)
        .values(revoked_at=func.coalesce(table.c.revoked_at, func.now()))
    )
    if not done.rowcount:
        raise NotFound(f"there is no key {key_id}")


async def _successor(connection: AsyncConnection, old: ApiKey) -> str | None:
    """Return the last key that has come in the place of this one, and is not revoked."""
    query = select(table.c.key_id).where(
        table.c.origin == old.caller,
        table.c.created_at > old.created_at,
        table.c.revoked_at.is_(None),
    )
    found: str | None = await connection.scalar(query.order_by(table.c.created_at.desc()).limit(1))
    return found


def _shown_to_organization() -> list[ColumnElement[Any]]:
    maker = table.alias("maker")
    is_own = select(maker.c.key_id).where(
        maker.c.key_id == table.c.made_by, maker.c.org_id == table.c.org_id
    )
    own_maker = case((is_own.exists(), table.c.made_by)).label("made_by")
    return [own_maker if one is table.c.made_by else one for one in _PUBLIC]


def _text_of(key_id: str, secret: str) -> str:
    return f"{KEY_PREFIX}_{key_id}_{secret}"


def _api_key(row: Sequence[Any]) -> ApiKey:
    key_id, stored, *others = row
    return ApiKey(key_id, _SCOPES.get(stored) or Scope(stored), *others)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
