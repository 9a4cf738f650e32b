"""Whether a key is another person's than the one that has asked for something."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing import adjustments
from billing.adjustments import FourEyesRequest
from billing.errors import SameOperator
from billing.organizations import ApiKey, Scope
from store.organizations import api_keys
from store.schema import api_keys as keys


async def require_another_person(
    connection: AsyncConnection, asked: FourEyesRequest, key: ApiKey
) -> None:
    """Let a key agree that is not in the hands of who asked; raise SameOperator."""
    asker = asked.requested_by.key_id
    keys_of_asker = await api_keys.of_one_person(connection, asker) if asker else ()
    adjustments.require_another_person(asked, key, keys_of_asker)


async def is_another_person(
    connection: AsyncConnection, asked: FourEyesRequest, key: ApiKey
) -> bool:
    """Return whether a key may agree to what was asked for."""
    try:
        await require_another_person(connection, asked, key)
    except SameOperator:
        return False
    return True


async def has_operator(connection: AsyncConnection) -> bool:
    """Return whether there has ever been an operator's key."""
    query = select(keys.c.key_id).where(keys.c.scope == Scope.OPERATOR).limit(1)
    return await connection.scalar(query) is not None
