"""`callwallet up` seen from outside: what it starts, what it survives, what it leaves behind."""

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
from pathlib import Path

import httpx
import pytest

from devstack import programs
from devstack.errors import AlreadyRunning, PortTaken, StackError
from devstack.ports import HOST
from devstack.stack import PARTS, Stack
from environment import secret_settings
from settings import kinds_of_settings
from tests.support.os_processes import eventually, is_running, supervisor

SERVERS = ("postgres", "temporal", "providers")

UP = """
import asyncio, sys
from pathlib import Path
from devstack.signals import until_signalled
from devstack.stack import Stack

async def main():
    with until_signalled():
        parts = ("postgres", "temporal", "providers")
        async with Stack(Path(sys.argv[1]), parts=parts) as stack:
            print(*stack.pids().values(), flush=True)
            await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_the_env_file_holds_the_settings_of_the_parts_for_a_shell(tmp_path: Path) -> None:
    async with Stack(tmp_path, parts=SERVERS) as stack:
        script = f"set -a; . {tmp_path}/env; printenv STRIPE_API_BASE DATABASE_URL"
        shell = await asyncio.create_subprocess_exec("sh", "-c", script, stdout=subprocess.PIPE)
        printed, _ = await shell.communicate()
        assert printed.decode().split() == [stack.stripe_url, stack.postgres.service_url()]
    assert stat.S_IMODE((tmp_path / "env").stat().st_mode) == 0o600


def test_each_process_is_told_its_own_secrets_and_no_other_s(tmp_path: Path) -> None:
    secrets = {
        name.upper(): "a secret" for kind in kinds_of_settings() for name in secret_settings(kind)
    }
    asks = {"STRIPE_API_KEY", "VAPI_API_KEY", "SLACK_WEBHOOK_URL"}
    checks = {"STRIPE_WEBHOOK_SECRET", "VAPI_WEBHOOK_SECRET"}
    of_all = {"DATABASE_URL", "TEMPORAL_API_KEY"}
    assert {
        program.name: program.env.keys()
        for program in (programs.api(tmp_path, 1, secrets), programs.worker(tmp_path, secrets))
    } == {
        "api": of_all | checks | {"TWILIO_AUTH_TOKENS"},
        "worker": of_all | asks | {"TWILIO_AUTH_TOKENS"},
    }
    setup = programs.command(tmp_path, secrets, *programs.SETUP)
    keys = programs.command(tmp_path, secrets, "keys", "create")
    assert (set(setup.env), set(keys.env)) == (of_all | {"DATABASE_OWNER_URL"}, of_all)


async def test_the_next_start_has_the_same_addresses_and_secrets(tmp_path: Path) -> None:
    async with Stack(tmp_path, parts=SERVERS):
        env = (tmp_path / "env").read_text()
    async with Stack(tmp_path, parts=SERVERS):
        assert (tmp_path / "env").read_text() == env


async def test_a_second_up_on_the_same_state_learns_who_is_there(tmp_path: Path) -> None:
    async with Stack(tmp_path, parts=SERVERS) as stack:
        before = json.loads((tmp_path / "pids.json").read_text())
        with pytest.raises(AlreadyRunning, match=f"process {os.getpid()} "):
            await Stack(tmp_path, parts=SERVERS).__aenter__()
        assert json.loads((tmp_path / "pids.json").read_text()) == before == stack.pids()


@pytest.mark.parametrize("part", SERVERS)
async def test_a_killed_part_is_started_again_on_its_ports(tmp_path: Path, part: str) -> None:
    async with Stack(tmp_path, parts=SERVERS) as stack:
        settings, killed = stack.settings(), stack.pids()[part]
        os.kill(killed, signal.SIGKILL)
        await eventually(lambda: stack.pids().get(part, killed) != killed)
        assert json.loads((tmp_path / "pids.json").read_text()) == stack.pids()
        assert stack.settings() == settings
    assert f"{part}: ended (signal 9), starts again" in (tmp_path / "logs/up.log").read_text()


async def test_a_restarted_stand_in_answers_again(tmp_path: Path) -> None:
    async with Stack(tmp_path, parts=("providers",)) as stack:
        killed = stack.pids()["providers"]
        os.kill(killed, signal.SIGKILL)
        await eventually(lambda: not is_running(killed) and answers(stack.stripe_url))


def answers(url: str) -> bool:
    try:
        httpx.get(url)
    except httpx.TransportError:
        return False
    return True


async def test_the_whole_system_survives_the_kill_of_its_own_processes(tmp_path: Path) -> None:
    async with Stack(tmp_path) as stack:
        assert set(stack.pids()) == set(PARTS)
        assert services(stack)["worker"] == "ok"
        killed = {name: stack.pids()[name] for name in ("api", "worker")}
        for pid in killed.values():
            os.kill(pid, signal.SIGKILL)
        await eventually(lambda: not any(map(is_running, killed.values())))
        await eventually(lambda: answers(stack.api_url), 30)
        await eventually(lambda: services(stack)["worker"] == "ok", 30)
        operator = {"Authorization": f"Bearer {stack.operator_key}"}
        async with httpx.AsyncClient(base_url=stack.api_url, headers=operator) as http:
            assert (await http.get("/v1/organizations")).status_code == 200


def services(stack: Stack) -> dict[str, str]:
    found: dict[str, str] = httpx.get(f"{stack.api_url}/health").json()["services"]
    return found


async def test_a_killed_up_leaves_nothing_running(tmp_path: Path) -> None:
    process, pids = await supervisor(UP, str(tmp_path))
    process.kill()
    await process.wait()
    await eventually(lambda: not any(map(is_running, pids)))


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_stops_everything_and_up_exits_cleanly(
    tmp_path: Path, ending: signal.Signals
) -> None:
    process, pids = await supervisor(UP, str(tmp_path))
    process.send_signal(ending)
    assert await asyncio.wait_for(process.wait(), 15) == 0
    assert not any(map(is_running, pids))
    assert "database system is shut down" in (tmp_path / "logs/postgres.log").read_text()


async def test_stacks_started_at_once_share_no_port(tmp_path: Path) -> None:
    homes = [tmp_path / "a", tmp_path / "b"]
    started = await asyncio.gather(*(supervisor(UP, str(home)) for home in homes))
    try:
        chosen = [json.loads((home / "ports.json").read_text()).values() for home in homes]
        assert not set(chosen[0]) & set(chosen[1])
    finally:
        for process, _ in started:
            process.kill()
            await process.wait()


async def test_a_fixed_port_that_is_taken_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as stranger:
        port = stranger.getsockname()[1]
        stack = Stack(tmp_path, parts=SERVERS, ports={"temporal": port})
        with pytest.raises(PortTaken, match=str(port)):
            await stack.__aenter__()
    assert stack.pids() == {}
    async with Stack(tmp_path, parts=SERVERS) as stack:
        assert set(stack.pids()) == set(SERVERS)


async def test_a_remembered_port_that_a_stranger_took_is_replaced(tmp_path: Path) -> None:
    async with Stack(tmp_path, parts=("providers",)) as stack:
        url = stack.stripe_url
    with socket.create_server((HOST, int(url.rsplit(":", 1)[1]))):
        async with Stack(tmp_path, parts=("providers",)) as stack:
            assert stack.stripe_url != url


async def test_a_port_lost_to_a_stranger_while_starting_is_replaced(tmp_path: Path) -> None:
    strangers: list[socket.socket] = []

    def take_the_port_of_stripe(part: str, detail: str) -> None:
        if (part, detail) == ("providers", "starting") and not strangers:
            port = int(stack.stripe_url.rsplit(":", 1)[1])
            strangers.append(socket.create_server((HOST, port)))

    stack = Stack(tmp_path, parts=("providers",), on_step=take_the_port_of_stripe)
    async with stack:
        assert strangers[0].getsockname()[1] != int(stack.stripe_url.rsplit(":", 1)[1])
        assert answers(stack.stripe_url)
    strangers[0].close()


async def test_a_part_that_cannot_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    (tmp_path / "providers.db").mkdir()
    stack = Stack(tmp_path, parts=SERVERS)
    with pytest.raises(StackError, match=r"providers ended while it started(.|\n)*sqlite3"):
        await stack.__aenter__()
    assert stack.pids() == {}
