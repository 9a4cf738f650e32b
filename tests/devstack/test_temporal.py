"""The embedded Temporal: workflows outlive every kind of end of the server."""

import asyncio
import os
import signal
from pathlib import Path

import httpx
import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError

from devstack import lock
from devstack.errors import AlreadyRunning
from devstack.temporal import EmbeddedTemporal
from tests.support.os_processes import eventually, is_running, supervisor

SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from devstack.temporal import EmbeddedTemporal

async def main():
    async with EmbeddedTemporal(Path(sys.argv[1])) as temporal:
        print(temporal.pid, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def start_a_workflow(temporal: EmbeddedTemporal) -> None:
    client = await Client.connect(temporal.address)
    await client.start_workflow("Anything", id="kept", task_queue="nobody-polls")


async def is_still_running(temporal: EmbeddedTemporal) -> bool:
    client = await Client.connect(temporal.address)
    description = await client.get_workflow_handle("kept").describe()
    return description.status is WorkflowExecutionStatus.RUNNING


async def test_the_ui_answers_and_the_address_stays_at_the_next_start(tmp_path: Path) -> None:
    async with EmbeddedTemporal(tmp_path) as temporal:
        address, ui_url = temporal.address, temporal.ui_url
        async with httpx.AsyncClient() as http:
            assert (await http.get(ui_url)).status_code == 200
        await start_a_workflow(temporal)
    async with EmbeddedTemporal(tmp_path) as temporal:
        assert (temporal.address, temporal.ui_url) == (address, ui_url)
        assert await is_still_running(temporal)


async def test_a_killed_server_comes_back_with_its_workflows(tmp_path: Path) -> None:
    async with EmbeddedTemporal(tmp_path) as temporal:
        await start_a_workflow(temporal)
        killed = temporal.pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        await eventually(lambda: temporal.pid not in (None, killed))
        await until_answering(temporal)
        assert await is_still_running(temporal)


async def until_answering(temporal: EmbeddedTemporal) -> None:
    async with asyncio.timeout(15):
        while True:
            try:
                await Client.connect(temporal.address)
            except (RuntimeError, RPCError):
                await asyncio.sleep(0.05)
            else:
                return


async def test_a_killed_supervisor_takes_the_server_with_it(tmp_path: Path) -> None:
    process, [server] = await supervisor(SUPERVISOR, str(tmp_path))
    process.kill()
    await process.wait()
    await eventually(lambda: not is_running(server))


async def test_a_file_has_one_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "ORPHAN_SECONDS", 0.2)
    async with EmbeddedTemporal(tmp_path):
        with pytest.raises(AlreadyRunning):
            await EmbeddedTemporal(tmp_path).start()


async def test_servers_started_at_once_do_not_clash(tmp_path: Path) -> None:
    stacks = [EmbeddedTemporal(tmp_path / name) for name in "ab"]
    await asyncio.gather(*(temporal.start() for temporal in stacks))
    try:
        assert stacks[0].address != stacks[1].address
    finally:
        await asyncio.gather(*(temporal.stop() for temporal in stacks))
