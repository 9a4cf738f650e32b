"""A real PgBouncer in transaction mode, in front of a PostgreSQL of the tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from devstack.files import write_private
from devstack.ports import HOST, Ports
from devstack.postgres import EmbeddedPostgres
from devstack.process import Program, Service
from devstack.programs import all_listen, log

CONFIG = """
[databases]
* = host={host} port={port} user={user} password='{password}'
[pgbouncer]
listen_addr = {host}
listen_port = {own}
unix_socket_dir =
auth_type = any
admin_users = {user}
pool_mode = transaction
default_pool_size = 8
server_login_retry = 1
"""


@dataclass(frozen=True)
class PgBouncer:
    port: int

    def url(self, database: str) -> str:
        return f"postgresql://postgres@{HOST}:{self.port}/{database}"

    def url_of(self, engine: AsyncEngine) -> str:
        """Return the URL at which a database of the tests is behind it."""
        return self.url(str(engine.url.database))

    async def opens_anew(self) -> None:
        """Have it open its connections anew, as an administrator does at its console."""
        console = await psycopg.AsyncConnection.connect(self.url("pgbouncer"), autocommit=True)
        async with console:
            await console.execute("RECONNECT")


@asynccontextmanager
async def in_front_of(
    postgres: EmbeddedPostgres, program: str, state: Path
) -> AsyncIterator[PgBouncer]:
    server = make_url(postgres.url())
    home, ports = state / "pgbouncer", Ports(state / "ports.json", {})
    home.mkdir()
    own = ports.take("pgbouncer")
    config = CONFIG.format(
        host=HOST, port=server.port, user=server.username, password=server.password, own=own
    )
    write_private(home / "pgbouncer.ini", config)
    command = (program, str(home / "pgbouncer.ini"))
    described = Program("pgbouncer", command, log(state, "pgbouncer"), ports=(own,), owned=home)
    service = Service(lambda: described, lambda _: all_listen([own]))
    await service.start()
    yield PgBouncer(own)
    await service.stop()
    ports.close()
