"""`callwallet`, as it is typed: a process that reads its environment."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from dataclasses import dataclass

from devstack.process import ROOT, environment

PATIENCE_SECONDS = 90
Env = Mapping[str, str]


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed for programs and for people."""

    status: int | None
    output: str
    said: str


async def start(env: Mapping[str, str], *arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", *arguments),
        cwd=ROOT,
        env=environment({**env, "COLUMNS": "140"}),
        stdout=PIPE,
        stderr=PIPE,
    )


async def end(process: Process) -> Ended:
    try:
        output, said = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Ended(process.returncode, output.decode(), said.decode())


async def callwallet(env: Mapping[str, str], *arguments: str) -> Ended:
    return await end(await start(env, *arguments))


def flat(ended: Ended) -> str:
    """All that was printed, whatever lines and boxes it was broken into."""
    return " ".join((ended.output + ended.said).replace("│", " ").split())
