"""Run `callwallet` as it is typed: a process that reads its environment."""

import asyncio
import json
import os
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from devstack.process import ROOT, Program, Service, environment
from devstack.programs import python

PATIENCE_SECONDS = 90
COLUMNS = {"COLUMNS": "140"}
FORKS = Path(tempfile.gettempdir()) / f"callwallet-{os.getpid()}.socket"
Env = Mapping[str, str]


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed: `output` for programs, `said` for people."""

    status: int | None
    output: str
    said: str


async def start(env: Mapping[str, str], *arguments: str) -> Process:
    """Start it from nothing, to do something to it while it runs."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", *arguments),
        cwd=ROOT,
        env=environment({**env, **COLUMNS}),
        stdout=PIPE,
        stderr=PIPE,
        preexec_fn=_heed_ctrl_c,
    )


def _heed_ctrl_c() -> None:
    """Undo that a shell has tests in the background ignore it: their children would as well."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


async def end(process: Process) -> Ended:
    try:
        output, said = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Ended(process.returncode, output.decode(), said.decode())


async def callwallet(env: Mapping[str, str], *arguments: str) -> Ended:
    """Run it to its end, as a fork of a process that has imported it (see `forking`)."""
    typed = {"arguments": arguments, "env": environment({**env, **COLUMNS})}
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_unix_connection(FORKS)
        writer.write(json.dumps(typed).encode() + b"\n")
        told = json.loads(await reader.read())
        writer.close()
        await writer.wait_closed()
    return Ended(**told)


@asynccontextmanager
async def forking(log: Path) -> AsyncIterator[None]:
    """Have a process from which `callwallet` is forked."""
    command = python("tests.support.command_forks", str(FORKS))
    program = Program("callwallet", command, log, COLUMNS)

    async def listens(_: int) -> bool:
        return FORKS.exists()

    service = Service(lambda: program, listens)
    await service.start()
    yield
    await service.stop()
    FORKS.unlink()


def flat(ended: Ended) -> str:
    """Return all that was printed in one line, without the lines of boxes."""
    return " ".join((ended.output + ended.said).replace("│", " ").split())
