"""A database that says that its server is of another version."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

# Found before the function of this name that each server has.
_SAYS = """
CREATE FUNCTION public.current_setting(name text) RETURNS text LANGUAGE sql AS $$
    SELECT CASE name
        WHEN 'server_version' THEN '14.11'
        WHEN 'server_version_num' THEN '140011'
        ELSE pg_catalog.current_setting(name) END
$$"""
_FIRST = "ALTER DATABASE {database} SET search_path = public, pg_catalog"


async def is_made_old(engine: AsyncEngine) -> None:
    """Have every session that begins from now on say that the server is of version 14.11."""
    async with engine.begin() as connection:
        await connection.execute(text(_SAYS))
        await connection.execute(text(_FIRST.format(database=engine.url.database)))
    await engine.dispose()
