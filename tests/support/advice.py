"""Follow the advice on a parked process's page, literally: its requests, and its commands."""

import asyncio
import re
import shlex
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.client import WorkflowHandle

from tests.support.api_server import Api
from tests.support.eventually import eventually
from tests.support.factories import balance_of
from tests.support.parked_workflows import page

Handle = WorkflowHandle[Any, Any]
_REQUEST = re.compile(r"`((?:GET|POST|PUT|DELETE) /[^`]+)`")
ANN = "Ann: as the page says"


def requests_in(advice: str) -> list[str]:
    """List the requests that a text names, such as `POST /v1/tariffs`."""
    return _REQUEST.findall(advice)


@dataclass(frozen=True)
class Advice:
    """What a person is told to do about one process that is parked."""

    api: Api
    handle: Handle
    page: str

    @property
    def to_do(self) -> str:
        [told] = re.findall(r"\*\*What to do\.\*\* (.*)", self.page)
        return str(told)

    async def request(self, request: str, body: Any = None, **named: str) -> httpx.Response:
        """Send a request that the advice names, with an operator's key."""
        assert request in requests_in(self.to_do), (request, self.to_do)
        method, path = request.split(" ")
        answer = await self.api.operator.request(method, path.format(**named), json=body)
        return answer.raise_for_status()

    async def command(self, name: str) -> None:
        """Run the command that the page shows for this signal, with a name and a reason in it."""
        [shown] = re.findall(rf"`(temporal workflow signal [^`]* --name {name} [^`]*)`", self.page)
        program, *words = shlex.split(shown.replace("your name: why", ANN))
        address = self.api.temporal.service_client.config.target_host
        running = await asyncio.create_subprocess_exec(
            str(Path(sysconfig.get_path("scripts")) / program),
            *(*words, "--address", address),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await running.communicate()
        assert running.returncode == 0, output.decode()


async def advice(api: Api, handle: Handle) -> Advice:
    """Read what the page says, which is what the API says too."""
    told = Advice(api, handle, await page(handle))
    shown = (await api.operator.get(f"/v1/parked/{handle.id}")).raise_for_status().json()
    assert shown["advice"] == told.to_do
    return told


def walks(reason: str) -> pytest.MarkDecorator:
    """Mark a test that parks something for a reason, follows its advice, and sees it settle."""
    return pytest.mark.walks(reason)


async def decide(api: Api, workflow_id: str, verdict: str) -> str:
    """Reprocess or discard it by its route; return how it stands then."""
    told = {"note": "as the page says"}
    answer = await api.operator.post(f"/v1/parked/{workflow_id}/{verdict}", json=told)
    assert answer.is_success, answer.text
    return str(answer.json()["standing"])


async def until_balance(api: Api, org_id: str, minor: int) -> None:
    async def is_so() -> bool:
        return await balance_of(api.engine, org_id) == minor

    assert await eventually(is_so), await balance_of(api.engine, org_id)


def handle(api: Api, workflow_id: str) -> Handle:
    return api.temporal.get_workflow_handle(workflow_id)
