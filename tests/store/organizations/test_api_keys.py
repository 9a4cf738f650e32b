"""API keys: nothing that can be stolen from the table opens anything."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.errors import NotFound
from billing.organizations import ApiKey, Scope
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
    assert (tenant.scope, tenant.org_id) == (Scope.ORGANIZATION, org_id)
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
