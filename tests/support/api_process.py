"""Run `python -m api` as it is deployed: a process that reads its environment."""

import asyncio
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from devstack import programs
from devstack.ports import HOST, Ports
from devstack.process import Service, environment
from devstack.programs import python
from tests.support.forks import FORKS

NOBODY_LISTENS = f"{HOST}:9"


@asynccontextmanager
async def api_process(state: Path, env: Mapping[str, str]) -> AsyncIterator[str]:
    """Run the API as a process of its own until the body ends; yield its URL."""
    ports = Ports(state / "ports.json", {})
    port = ports.take("api")
    url = f"http://{HOST}:{port}"
    own = {**env, "API_HOST": HOST, "API_PORT": str(port)}
    async with httpx.AsyncClient(trust_env=False, timeout=10) as http:

        async def answers(_pid: int) -> bool:
            return await programs.health(http, url) is not None

        service = Service(lambda: programs.api(state, port, own), answers)
        await service.start()
        yield url
        await service.stop()
        ports.close()


async def api_that_ends(env: Mapping[str, str], module: str = "api") -> tuple[int | None, str]:
    """Run an API (or a worker) that should not start; return its status and standard error."""
    process = await FORKS.run(
        python(module), environment({**env, "API_PORT": "0"}), stdout=DEVNULL, stderr=PIPE
    )
    try:
        _, said = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode, said.decode()
