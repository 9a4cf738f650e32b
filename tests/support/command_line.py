"""Run `callwallet` as it is typed: a process that reads its environment."""

import asyncio
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from dataclasses import dataclass

from devstack.process import ROOT, environment
from devstack.programs import python
from tests.support.forks import FORKS, Fork

PATIENCE_SECONDS = 90
COLUMNS = {"COLUMNS": "140"}
Env = Mapping[str, str]


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed: `output` for programs, `said` for people."""

    status: int | None
    output: str
    said: str


async def start(env: Mapping[str, str], *arguments: str) -> Fork:
    """Start it, to do something to it while it runs."""
    return await FORKS.run(
        python("cli", *arguments), environment({**env, **COLUMNS}), stdout=PIPE, stderr=PIPE
    )


async def start_from_nothing(env: Mapping[str, str], *arguments: str) -> Process:
    """Start it as it is deployed: in a process that has imported nothing yet."""
    return await asyncio.create_subprocess_exec(
        *python("cli", *arguments),
        cwd=ROOT,
        env=environment({**env, **COLUMNS}),
        stdout=PIPE,
        stderr=PIPE,
    )


async def end(process: Process | Fork) -> Ended:
    try:
        output, said = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Ended(process.returncode, output.decode(), said.decode())


async def callwallet(env: Mapping[str, str], *arguments: str) -> Ended:
    """Run it to its end."""
    return await end(await start(env, *arguments))


def flat(ended: Ended) -> str:
    """Return all that was printed in one line, without the lines of boxes."""
    return " ".join((ended.output + ended.said).replace("│", " ").split())
