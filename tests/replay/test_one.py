"""One history from a file, as a developer replays what production has sent."""

import asyncio
import sys
import sysconfig
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from devstack.process import ROOT
from devstack.stack import Stack
from tests.replay.one import DOES_NOT, NO_HISTORY, REPLAYS, replay
from tests.replay.record import HISTORIES
from tests.support.factories import an_assistant, an_organization, ended_call
from tests.support.parked_workflows import start_bill, until_parked

TEMPORAL = str(Path(sysconfig.get_path("scripts")) / "temporal")


async def printed_by(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


async def test_the_command_says_which_history_replays() -> None:
    file = HISTORIES / "bill_call_settled.json"
    printed = await printed_by(sys.executable, "-m", "tests.replay.one", str(file))
    assert printed.startswith("BillCall call/call_")
    assert printed.endswith(" replays: 7 events\n")


async def test_what_temporal_s_command_line_writes_is_replayed_while_it_waits(
    worker: Client,
    engine: AsyncEngine,
    stack: Stack,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    call = ended_call(await an_assistant(engine, await an_organization(engine)), 600)
    handle = await start_bill(worker, call)
    await until_parked(handle, "debt_limit")
    server = ("--address", stack.temporal.address, "--namespace", worker.namespace)
    show = ("workflow", "show", "--workflow-id", handle.id, "--output", "json")
    file = tmp_path / "call.json"
    file.write_text(await printed_by(TEMPORAL, *show, *server))
    assert await replay(file) == REPLAYS
    assert f"BillCall {handle.id} replays" in capsys.readouterr().out


async def test_a_history_of_other_code_does_not_replay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = (HISTORIES / "bill_call_vapi_fault.json").read_text()
    file = tmp_path / "changed.json"
    file.write_text(recorded.replace('"name": "fetch_call"', '"name": "bill_call"'))
    assert await replay(file) == DOES_NOT
    assert (
        "does not match activity type of activity command 'fetch_call'" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "written", ["not JSON", "{}", '{"events": []}', '{"events": [{"eventId": "one"}]}']
)
async def test_a_file_that_is_no_history_is_refused(
    written: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "other.json"
    file.write_text(written)
    assert await replay(file) == NO_HISTORY
    assert f"{file} is no history" in capsys.readouterr().err
