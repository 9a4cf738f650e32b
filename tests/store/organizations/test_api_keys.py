"""API keys: nothing that can be stolen from the table opens anything."""

import hashlib
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.errors import NotFound
from billing.organizations import OPERATORS_SCOPES, ORGANIZATIONS_SCOPES, ApiKey, Rotation, Scope
from store.database import clock
from store.organizations import api_keys
from tests.support.factories import an_organization, unique

SECRET = "a secret of 256 random bits"


async def create(engine: AsyncEngine, org_id: str | None = None) -> ApiKey:
    async with engine.begin() as connection:
        return await api_keys.create(connection, unique("key"), SECRET, org_id, "a test")


async def authenticate(engine: AsyncEngine, key_id: str, secret: str) -> ApiKey | None:
    async with engine.connect() as connection:
        return await api_keys.authenticate(connection, key_id, secret)


async def revoke(engine: AsyncEngine, key_id: str) -> None:
    async with engine.begin() as connection:
        await api_keys.revoke(connection, key_id)


async def test_a_key_opens_what_it_was_made_for(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    operator, tenant = await create(engine), await create(engine, org_id)
    assert (operator.scope, operator.org_id) == (Scope.OPERATOR, None)
    assert (tenant.scope, tenant.org_id) == (Scope.FULL, org_id)
    assert await authenticate(engine, operator.key_id, SECRET) == operator
    assert await authenticate(engine, tenant.key_id, SECRET) == tenant


@pytest.mark.parametrize("wrong", ["", "a secret", SECRET + " ", SECRET.upper()])
async def test_a_wrong_secret_opens_nothing(engine: AsyncEngine, wrong: str) -> None:
    key = await create(engine)
    assert await authenticate(engine, key.key_id, wrong) is None


async def test_an_unknown_key_opens_nothing(engine: AsyncEngine) -> None:
    assert await authenticate(engine, unique("key"), SECRET) is None


async def test_the_table_holds_no_secret_and_the_stored_hash_opens_nothing(
    engine: AsyncEngine,
) -> None:
    key = await create(engine)
    query = text("SELECT to_jsonb(api_keys)::text, secret_sha256 FROM api_keys WHERE key_id = :id")
    async with engine.connect() as connection:
        row, digest = (await connection.execute(query, {"id": key.key_id})).one()
    assert SECRET not in row
    assert await authenticate(engine, key.key_id, digest) is None


async def test_a_revoked_key_opens_nothing_and_stays_revoked_since_then(
    engine: AsyncEngine,
) -> None:
    key, other = await create(engine), await create(engine)
    await revoke(engine, key.key_id)
    assert await authenticate(engine, key.key_id, SECRET) is None
    assert await authenticate(engine, other.key_id, SECRET) == other

    async def listed() -> ApiKey:
        async with engine.connect() as connection:
            return next(
                one
                for one in await api_keys.page(connection, None, 10_000)
                if one.key_id == key.key_id
            )

    revoked_at = (await listed()).revoked_at
    assert revoked_at is not None
    await revoke(engine, key.key_id)
    assert (await listed()).revoked_at == revoked_at


async def test_a_key_that_does_not_exist_cannot_be_revoked(engine: AsyncEngine) -> None:
    with pytest.raises(NotFound):
        await revoke(engine, unique("key"))


async def test_a_key_of_an_organisation_that_does_not_exist_cannot_be_made(
    engine: AsyncEngine,
) -> None:
    with pytest.raises(IntegrityError):
        await create(engine, unique("org"))


@pytest.mark.parametrize("is_operators", [True, False])
async def test_a_key_that_version_0_1_makes_may_as_much_as_there_is(
    engine: AsyncEngine, is_operators: bool
) -> None:
    """It knows two scopes, and none of the columns that came later."""
    org_id = None if is_operators else await an_organization(engine)
    insert = (
        "INSERT INTO api_keys (key_id, secret_sha256, scope, org_id, label)"
        " VALUES (:key_id, :digest, :scope, :org_id, 'of 0.1')"
    )
    key_id, scope = unique("key"), "operator" if is_operators else "organization"
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    values = {"key_id": key_id, "digest": digest, "scope": scope, "org_id": org_id}
    async with engine.begin() as connection:
        await connection.execute(text(insert), values)
    found = await authenticate(engine, key_id, SECRET)
    assert found is not None
    assert found.scope is (Scope.OPERATOR if is_operators else Scope.FULL)
    assert (found.caller, found.expires_at, found.last_used_at) == (key_id, None, None)


async def test_a_key_that_version_0_1_reads_is_a_full_one_or_none_that_it_knows(
    engine: AsyncEngine,
) -> None:
    """It would take whatever has no organisation for an operator's, if it knew the scope."""
    org_id, stored = await an_organization(engine), {}
    for owner in (None, org_id):
        for scope in OPERATORS_SCOPES if owner is None else ORGANIZATIONS_SCOPES:
            async with engine.begin() as connection:
                key, _ = await api_keys.issue(connection, "a test", owner, scope=scope)
                read = text("SELECT scope FROM api_keys WHERE key_id = :key_id")
                stored[owner, scope] = await connection.scalar(read, {"key_id": key.key_id})
            assert key.scope is scope
    known = {one for one, name in stored.items() if name in ("operator", "organization")}
    assert known == {(None, Scope.OPERATOR), (org_id, Scope.FULL)}


@pytest.mark.parametrize(
    "change",
    [
        "expires_at = NULL",
        "expires_at = expires_at + interval '1 second'",
        "revoked_at = NULL",
        "revoked_at = revoked_at + interval '1 second'",
    ],
)
async def test_no_key_comes_back_to_life(engine: AsyncEngine, change: str) -> None:
    async with engine.begin() as connection:
        until = await clock.now(connection) + timedelta(days=1)
        key, _ = await api_keys.issue(connection, "a test", None, expires_at=until)
        await api_keys.revoke(connection, key.key_id)
    revive = text(f"UPDATE api_keys SET {change} WHERE key_id = :key_id")  # noqa: S608
    async with engine.connect() as connection:
        with pytest.raises(IntegrityError, match="api_keys"):
            await connection.execute(revive, {"key_id": key.key_id})


async def test_operators_keys_that_are_in_use_and_end_soon_are_found(
    engine_apart: AsyncEngine,
) -> None:
    engine, week, day = engine_apart, timedelta(days=7), timedelta(days=1)
    org_id = await an_organization(engine)
    async with engine.begin() as connection:
        now = await clock.now(connection)

        async def key(
            ends: timedelta | None, used: timedelta | None, owner: str | None = None
        ) -> ApiKey:
            until = None if ends is None else now + ends
            made, _ = await api_keys.issue(connection, "a test", owner, expires_at=until)
            last = text("UPDATE api_keys SET last_used_at = :at WHERE key_id = :key_id")
            at = None if used is None else now - used
            await connection.execute(last, {"at": at, "key_id": made.key_id})
            return made

        ending = await key(week - day, day)
        await key(week + day, day)
        await key(None, day)
        await key(day, None)
        await key(day, week + day)
        await key(day, day, org_id)
        revoked, replaced = await key(day, day), await key(day, day)
        await api_keys.revoke(connection, revoked.key_id)
    async with engine.begin() as connection:
        rotation = Rotation(unique("key"), day)
        await api_keys.rotate(connection, replaced.key_id, rotation)
        found = await api_keys.expiring(connection, week, week)
    assert [one.key_id for one in found] == [ending.key_id]
