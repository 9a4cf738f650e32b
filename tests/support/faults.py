"""Let the real PostgreSQL fail for some rows: what no program of ours can prevent."""

from enum import StrEnum

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine


class Whom(StrEnum):
    """For which rows a fault is injected: for those with a name like `bad…`, or for each."""

    ONE = "one"
    ALL = "all"


async def refuse(engine: AsyncEngine, operation: str, table: str, of_one: str, whom: Whom) -> None:
    """Let PostgreSQL fail at each row that is written so, and that is of the bad one.

    `operation` is what a trigger fires at. `of_one` is the condition of a trigger by which the row
    is the bad one's. The error is that of a damaged page, which is of no value's making.
    """
    condition = of_one if whom is Whom.ONE else "true"
    function = """CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'a damaged page' USING ERRCODE = 'XX001'; END $$"""
    trigger = f"""CREATE TRIGGER fail BEFORE {operation} ON {table} FOR EACH ROW
        WHEN ({condition}) EXECUTE FUNCTION fail()"""
    async with engine.begin() as connection:
        await connection.execute(text(function))
        await connection.execute(text(trigger))


async def refuse_to_commit(engine: AsyncEngine, operation: str, table: str) -> None:
    """Let the commit of each transaction fail that has written a table so."""
    function = """CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'a damaged page' USING ERRCODE = 'XX001'; END $$"""
    trigger = f"""CREATE CONSTRAINT TRIGGER fail AFTER {operation} ON {table}
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail()"""
    async with engine.begin() as connection:
        await connection.execute(text(function))
        await connection.execute(text(trigger))


async def heal(engine: AsyncEngine, table: str) -> None:
    """End a fault."""
    async with engine.begin() as connection:
        await connection.execute(text(f"DROP TRIGGER fail ON {table}"))


async def edit(engine: AsyncEngine, statement: str, **given: object) -> None:
    """Change rows by hand, as the owner may."""
    async with engine.begin() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        await connection.execute(text(statement), given)
