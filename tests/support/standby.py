"""Two real PostgreSQL servers: one that is written to, and one that follows it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import make_url

from devstack.files import write_private
from devstack.postgres import EmbeddedPostgres, binaries
from devstack.process import Program, run
from devstack.programs import log
from tests.support.eventually import eventually

NAME = "standby"
READ_ONLY = "ALTER SYSTEM SET default_transaction_read_only = on"
SYNCHRONOUS = f"ALTER SYSTEM SET synchronous_standby_names = '{NAME}'"
FOLLOWS_NOBODY = "ALTER SYSTEM SET primary_conninfo = ''"
RELOAD = "SELECT pg_reload_conf()"


@dataclass(frozen=True)
class Server:
    postgres: EmbeddedPostgres

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.postgres.port

    async def run(self, *statements: str) -> Any:
        """Run statements, each by itself; return the first value of the last one."""
        url = self.postgres.url()
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            for statement in statements:
                answer = await connection.execute(statement.encode())
            row = await answer.fetchone() if answer.description else None
            return row[0] if row else None

    async def becomes_read_only(self) -> None:
        """Take no more writes. Whoever is connected stays so, and hears of it when it next asks."""
        await self.run(READ_ONLY, RELOAD)


@dataclass(frozen=True)
class Pair:
    primary: Server
    standby: Server

    async def promote(self) -> None:
        """Have the standby follow nobody any more, and take writes."""
        assert await self.standby.run("SELECT pg_promote()")

    async def fall_behind(self) -> None:
        """Have the standby hear of nothing that is written from now on, as by a slow network."""
        await self.standby.run(FOLLOWS_NOBODY, RELOAD)
        await eventually(lambda: self._finds("SELECT count(*) = 0 FROM pg_stat_replication"))

    async def catch_up(self) -> None:
        """Wait until the standby has all that is written by now."""
        written = await self.primary.run("SELECT pg_current_wal_lsn()")
        replayed = f"SELECT pg_last_wal_replay_lsn() >= '{written}'"
        async with asyncio.timeout(120):
            while not await self.standby.run(replayed):  # noqa: ASYNC110  (a server)
                await asyncio.sleep(0.02)

    async def agree(self) -> None:
        """Let the primary answer nobody before the standby has what was committed."""
        await self.primary.run(SYNCHRONOUS, RELOAD)
        state = "SELECT sync_state = 'sync' FROM pg_stat_replication"
        await eventually(lambda: self._finds(state))

    async def _finds(self, query: str) -> bool:
        return bool(await self.primary.run(query))


@asynccontextmanager
async def a_pair(state: Path) -> AsyncIterator[Pair]:
    """Run both over empty databases; the standby is asynchronous until they `agree`."""
    async with AsyncExitStack() as running:
        primary = EmbeddedPostgres(state / "primary")
        await running.enter_async_context(primary)
        standby = EmbeddedPostgres(state / "standby")
        await _copy(primary, state / "standby")
        await running.enter_async_context(standby)
        yield Pair(Server(primary), Server(standby))


async def _copy(primary: EmbeddedPostgres, state: Path) -> None:
    """Copy a server that runs, so that what starts from the copy follows it."""
    home = state / "postgres"
    home.mkdir(parents=True)
    url = f"{primary.url('postgres')}?application_name={NAME}"
    options = ("--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--dbname", url)
    command = (str(binaries() / "pg_basebackup"), *options, "--pgdata", str(home / "data"))
    await run(Program("pg_basebackup", command, log(state, "copy"), owned=home), seconds=60)
    write_private(home / "password", make_url(primary.url()).password or "")
