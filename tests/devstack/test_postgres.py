"""The embedded PostgreSQL: the same data after every kind of end, and nobody else harmed."""

import asyncio
import os
import signal
import socket
import stat
from pathlib import Path

import psycopg
import pytest

from devstack import lock
from devstack.errors import AlreadyRunning, PortTaken
from devstack.ports import HOST
from devstack.postgres import EmbeddedPostgres
from tests.support.os_processes import eventually, is_running, supervisor

SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from devstack.postgres import EmbeddedPostgres

async def main():
    async with EmbeddedPostgres(Path(sys.argv[1])) as postgres:
        print(postgres.pid, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


def commit_a_row(postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres.url()) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (n integer)")
        connection.execute("INSERT INTO kept VALUES (1)")


def rows(postgres: EmbeddedPostgres) -> int:
    with psycopg.connect(postgres.url()) as connection:
        row = connection.execute("SELECT count(*) FROM kept").fetchone()
    assert row is not None
    return int(row[0])


def answers(postgres: EmbeddedPostgres) -> bool:
    try:
        psycopg.connect(postgres.url(), connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


async def test_data_password_and_port_are_the_same_at_the_next_start(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path) as first:
        commit_a_row(first)
        url = first.url()
    async with EmbeddedPostgres(tmp_path) as second:
        assert second.url() == url
        assert rows(second) == 1


async def test_a_killed_server_comes_back_on_its_port_with_every_committed_row(
    tmp_path: Path,
) -> None:
    async with EmbeddedPostgres(tmp_path) as postgres:
        commit_a_row(postgres)
        killed, port = postgres.pid, postgres.port
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        await eventually(lambda: postgres.pid not in (None, killed) and answers(postgres))
        assert postgres.port == port
        assert rows(postgres) == 1


async def test_a_killed_supervisor_takes_the_server_with_it(tmp_path: Path) -> None:
    process, [server] = await supervisor(SUPERVISOR, str(tmp_path))
    process.kill()
    await process.wait()
    await eventually(lambda: not is_running(server))


async def test_a_start_right_after_the_supervisor_was_killed_waits_for_the_former_server(
    tmp_path: Path,
) -> None:
    process, [server] = await supervisor(SUPERVISOR, str(tmp_path))
    process.kill()
    await process.wait()
    async with EmbeddedPostgres(tmp_path) as postgres:
        assert not is_running(server)
        assert answers(postgres)


async def test_a_stale_pid_file_that_names_a_stranger_stops_neither(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path) as postgres:
        pid_file = tmp_path / "postgres" / "data" / "postmaster.pid"
        content = pid_file.read_text()
    stranger = await asyncio.create_subprocess_exec("sleep", "60")
    try:
        _, _, rest = content.partition("\n")
        pid_file.write_text(f"{stranger.pid}\n{rest}")
        async with EmbeddedPostgres(tmp_path) as postgres:
            assert answers(postgres)
        assert stranger.returncode is None
        assert is_running(stranger.pid)
    finally:
        stranger.kill()
        await stranger.wait()


async def test_an_empty_pid_file_does_not_stop_the_start(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path):
        pass
    (tmp_path / "postgres" / "data" / "postmaster.pid").touch()
    async with EmbeddedPostgres(tmp_path) as postgres:
        assert answers(postgres)


async def test_a_killed_initdb_leaves_nothing_that_passes_for_a_cluster(tmp_path: Path) -> None:
    unfinished = tmp_path / "postgres" / "unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    async with EmbeddedPostgres(tmp_path) as postgres:
        assert answers(postgres)


async def test_a_directory_has_one_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "ORPHAN_SECONDS", 0.2)
    async with EmbeddedPostgres(tmp_path) as postgres:
        with pytest.raises(AlreadyRunning):
            await EmbeddedPostgres(tmp_path).start()
        assert answers(postgres)


async def test_the_password_is_needed_and_private(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path) as postgres:
        url = f"postgresql://postgres:guess@{HOST}:{postgres.port}/callwallet"
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(url)
    mode = (tmp_path / "postgres" / "password").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


async def test_a_remembered_port_that_a_stranger_took_is_replaced(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path) as postgres:
        port = postgres.port
    with socket.create_server((HOST, port)):
        async with EmbeddedPostgres(tmp_path) as postgres:
            assert postgres.port != port
            assert answers(postgres)


async def test_an_explicit_port_that_is_taken_is_refused_by_name(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as stranger:
        port = stranger.getsockname()[1]
        with pytest.raises(PortTaken, match=str(port)):
            await EmbeddedPostgres(tmp_path, port).start()


async def test_servers_started_at_once_have_ports_of_their_own(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path / "a") as a, EmbeddedPostgres(tmp_path / "b") as b:
        assert a.port != b.port
        assert answers(a)
        assert answers(b)
