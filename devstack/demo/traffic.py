"""Vapi's side of a call: signed server messages, sent to callwallet's public endpoint."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson

from billing.calls.call import call_workflow_id
from devstack.providers.vapi.messages import (
    AuthMode,
    auth_headers,
    call_object,
    end_of_call_report,
    status_update,
)

AUTH_MODES: tuple[AuthMode, ...] = ("bearer", "secret", "hmac")
TWICE = 2


@dataclass(frozen=True)
class PhoneCall:
    """A call that has ended."""

    assistant_id: str
    seconds: int
    ended_at: datetime = field(default_factory=lambda: datetime.fromtimestamp(time.time(), UTC))
    call_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def started_at(self) -> datetime:
        """When it was answered."""
        return self.ended_at - timedelta(seconds=self.seconds)

    @property
    def workflow_id(self) -> str:
        """The id of the workflow that bills it."""
        return call_workflow_id(self.call_id)

    def report(self, omit: Collection[str] = ()) -> dict[str, Any]:
        """Return Vapi's report of its end. `omit` leaves facts out, as Vapi sometimes does."""
        told = end_of_call_report(self.call_id, self.assistant_id, self.started_at, self.ended_at)
        facts = told["message"].items()
        return {"message": {name: value for name, value in facts if name not in omit}}

    def status(self, status: str) -> dict[str, Any]:
        """Return Vapi's message that the call now has this status."""
        call = call_object(
            self.call_id,
            self.assistant_id,
            created_at=self.started_at,
            started_at=self.started_at,
            status=status,
        )
        return status_update(call, status, self.ended_at)


@dataclass(frozen=True)
class Vapi:
    """Vapi as callwallet sees it.

    `http` has the address of callwallet's API, `stand_in` that of Vapi's stand-in. `answers` counts
    callwallet's answers to reports.
    """

    http: httpx.AsyncClient
    secret: str
    stand_in: httpx.AsyncClient
    answers: Counter[str] = field(default_factory=Counter)

    async def send(self, message: dict[str, Any], auth: AuthMode = "bearer") -> str:
        """Send a message once; return the answer's `status`, or the HTTP status of a refusal."""
        return await send_signed(self.http, self.secret, message, auth)

    async def knows(self, call: PhoneCall) -> None:
        """Make Vapi's API show the call from now on."""
        told = {
            "id": call.call_id,
            "assistantId": call.assistant_id,
            "startedAt": call.started_at.isoformat(),
            "endedAt": call.ended_at.isoformat(),
        }
        (await self.stand_in.post("/_control/calls", json=told)).raise_for_status()

    async def forge(self, call: PhoneCall) -> str:
        """Report a call with a wrong secret; return the answer's status."""
        return await send_signed(self.http, "a guess", call.report(), "hmac")

    async def report_twice(
        self, call: PhoneCall, auth: AuthMode = "bearer", omit: Collection[str] = ()
    ) -> None:
        """Report the end of a call twice, at the same time."""
        copies = (self.send(call.report(omit), auth) for _ in range(TWICE))
        self.answers.update(await asyncio.gather(*copies))

    async def flood(self, calls: Iterable[PhoneCall], connections: int) -> None:
        """Report calls as fast as the connections can, each call twice, one after the other."""
        waiting = iter([call for call in calls for _ in range(TWICE)])

        async def connection() -> list[str]:
            return [await self.send(call.report()) for call in waiting]

        for answers in await asyncio.gather(*(connection() for _ in range(connections))):
            self.answers.update(answers)


async def send_signed(
    http: httpx.AsyncClient, secret: str, message: dict[str, Any], auth: AuthMode
) -> str:
    """Sign a Vapi message and post it; return the answer's `status`, or the HTTP status."""
    body = orjson.dumps(message)
    answer = await http.post(
        "/webhooks/vapi", content=body, headers=auth_headers(auth, secret, body)
    )
    return str(answer.json()["status"])
