"""Make calls at Vapi: register or generate them, change their status, end them (`/_control/…`)."""

import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import httpx
import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from devstack.providers.clock import Clock
from devstack.providers.control import read
from devstack.providers.delivery import Courier, Delivery, Sign
from devstack.providers.storage import JsonObject, Row, Storage
from devstack.providers.vapi import messages
from devstack.providers.vapi.messages import AuthMode, iso

CALL = "vapi.call"

_ASSISTANT_REQUEST_SECONDS = 7.5
_BATCH = 5000


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewCall(_Wire):
    """A call to register, in Vapi's names. `durationSeconds` is a short way to set `endedAt`.

    With an `endedAt` or a duration it has ended. Without a `startedAt` it has never connected.
    """

    id: str | None = None
    assistantId: str | None = None  # noqa: N815 - Vapi's names
    phoneNumberId: str | None = None  # noqa: N815
    customerNumber: str = "+447700900123"  # noqa: N815
    type: str = "inboundPhoneCall"
    status: str | None = None
    createdAt: AwareDatetime | None = None  # noqa: N815
    startedAt: AwareDatetime | None = None  # noqa: N815
    endedAt: AwareDatetime | None = None  # noqa: N815
    durationSeconds: float | None = Field(default=None, ge=0)  # noqa: N815
    endedReason: str = "customer-ended-call"  # noqa: N815

    def call(self, now: datetime) -> JsonObject:
        """Build the call object."""
        started, ended = self.startedAt, self.endedAt
        if self.durationSeconds is not None:
            lasted = timedelta(seconds=self.durationSeconds)
            started = started or (self.createdAt or now - lasted)
            ended = started + lasted
        running = "in-progress" if started else "queued"
        call = messages.call_object(
            self.id or str(uuid.uuid4()),
            self.assistantId,
            created_at=self.createdAt or started or ended or now,
            started_at=started,
            ended_at=ended,
            status=self.status or ("ended" if ended else running),
            ended_reason=self.endedReason,
            phone_number_id=self.phoneNumberId,
            customer_number=self.customerNumber,
            call_type=self.type,
        )
        # One that is given holds, though the call has an end: so it is at Vapi at times.
        return call | ({"status": self.status} if self.status else {})


class Generated(_Wire):
    """Many ended calls, spread evenly up to `to` (by default now). A seed makes the same calls."""

    count: int = Field(ge=1, le=200_000)
    assistant_ids: list[str] = Field(min_length=1)
    seed: int = 0
    to: AwareDatetime | None = None
    spread_seconds: float = Field(default=86_400.0, gt=0)
    shortest_seconds: int = Field(default=1, ge=1)
    longest_seconds: int = Field(default=600, ge=1)
    never_connected: float = Field(default=0.0, ge=0, le=1)
    in_progress: float = Field(default=0.0, ge=0, le=1)

    def calls(self, now: datetime) -> Iterator[JsonObject]:
        """Build the calls, oldest first."""
        dice = random.Random(self.seed)  # noqa: S311 - repeatable test data
        last = self.to or now
        step = timedelta(seconds=self.spread_seconds / self.count)
        for number in range(self.count):
            yield self._call(dice, last - step * (self.count - number))

    def _call(self, dice: random.Random, created: datetime) -> JsonObject:
        share = dice.random()
        lasted = timedelta(seconds=dice.randint(self.shortest_seconds, self.longest_seconds))
        connected = share >= self.never_connected
        running = connected and share < self.never_connected + self.in_progress
        return messages.call_object(
            str(uuid.UUID(int=dice.getrandbits(128), version=4)),
            dice.choice(self.assistant_ids),
            created_at=created,
            started_at=created if connected else None,
            ended_at=None if running else created + lasted,
            status="in-progress" if running else "ended",
            ended_reason="customer-ended-call" if connected else "customer-did-not-answer",
        )


class Travel(_Wire):
    """How one message is sent. What is unset is as the delivery policy and `--vapi-auth` say.

    `omit` leaves top-level fields out of the message, as Vapi sometimes does.
    """

    copies: int | None = Field(default=None, ge=1)
    drop: bool = False
    auth: AuthMode | None = None
    omit: list[str] = []


class End(Travel):
    """How a call ends: at `endedAt`, or `durationSeconds` after its start, or by default now."""

    endedAt: AwareDatetime | None = None  # noqa: N815 - Vapi's names
    durationSeconds: float | None = Field(default=None, ge=0)  # noqa: N815
    endedReason: str = "customer-ended-call"  # noqa: N815


class Status(Travel):
    """A call's new status."""

    status: Literal["scheduled", "queued", "ringing", "in-progress", "forwarding", "ended"]


class Inbound(_Wire):
    """An inbound call to a number without a fixed assistant."""

    phoneNumberId: str  # noqa: N815 - Vapi's name
    id: str | None = None
    customerNumber: str = "+447700900123"  # noqa: N815
    auth: AuthMode | None = None


_NEW = TypeAdapter[Generated | list[NewCall] | NewCall](Generated | list[NewCall] | NewCall)


def routes(storage: Storage, clock: Clock, courier: Courier, sign: Sign) -> list[BaseRoute]:
    """Build the routes that make calls happen."""
    switchboard = _Switchboard(storage, clock, courier, sign)
    return [
        Route("/_control/calls", switchboard.register, methods=["POST"]),
        Route("/_control/calls", switchboard.clear, methods=["DELETE"]),
        Route("/_control/calls/{id}/end", switchboard.end, methods=["POST"]),
        Route("/_control/calls/{id}/status", switchboard.status, methods=["POST"]),
        Route("/_control/assistant-request", switchboard.ask, methods=["POST"]),
    ]


class _Switchboard:
    """Changes calls, and reports the changes as Vapi does."""

    def __init__(self, storage: Storage, clock: Clock, courier: Courier, sign: Sign) -> None:
        self._storage = storage
        self._clock = clock
        self._courier = courier
        self._sign = sign

    async def register(self, request: Request) -> Response:
        """Add one call, a list of calls, or generated calls. No message is sent."""
        wanted = _NEW.validate_json(await request.body() or b"{}")
        if isinstance(wanted, Generated):
            calls = list(wanted.calls(self._now()))
        else:
            many = wanted if isinstance(wanted, list) else [wanted]
            calls = [new.call(self._now()) for new in many]
        self._save(*calls)
        return JSONResponse({"registered": len(calls), "ids": [call["id"] for call in calls]})

    async def clear(self, _: Request) -> Response:
        """Delete all calls."""
        self._storage.delete(CALL)
        return JSONResponse({"registered": 0})

    async def end(self, request: Request) -> Response:
        """End a call, unless it has ended, and send its end-of-call-report."""
        how = await read(request, End)
        call = self._storage.get(CALL, request.path_params["id"])
        if call is None:
            return _unknown()
        if "endedAt" not in call:
            call = self._ended(call, how)
        with self._storage.transaction():
            self._save(call)
            self._report(call, "end-of-call-report", self._message(call, how), how)
        self._courier.release()
        return JSONResponse(call)

    async def status(self, request: Request) -> Response:
        """Give a call a status, and send the status-update. `ended` sends no report."""
        how = await read(request, Status)
        call = self._storage.get(CALL, request.path_params["id"])
        if call is None:
            return _unknown()
        moment = iso(self._now())
        call |= {"status": how.status, "updatedAt": moment}
        if how.status == "in-progress":
            call.setdefault("startedAt", moment)
        message = messages.status_update(call, how.status, self._now())
        with self._storage.transaction():
            self._save(call)
            self._report(call, "status-update", _without(message, how.omit), how)
        self._courier.release()
        return JSONResponse(call)

    async def ask(self, request: Request) -> Response:
        """Send an assistant-request, and wait 7.5 s at most for the answer, as Vapi does."""
        how = await read(request, Inbound)
        call_id = how.id or str(uuid.uuid4())
        message = messages.assistant_request(
            call_id, how.phoneNumberId, self._now(), customer_number=how.customerNumber
        )
        body = orjson.dumps(message)
        asked = Delivery(call_id, call_id, "assistant-request", "", 0, auth=how.auth)
        async with httpx.AsyncClient(timeout=_ASSISTANT_REQUEST_SECONDS, trust_env=False) as client:
            url, headers = str(self._courier.policy.url), self._sign(body, asked)
            try:
                answer = await client.post(url, content=body, headers=headers)
            except httpx.HTTPError as error:
                return JSONResponse({"error": repr(error)}, status_code=504)
        return JSONResponse({"status": answer.status_code, "answer": answer.text})

    def _ended(self, call: JsonObject, how: End) -> JsonObject:
        began = call.get("startedAt")
        started = datetime.fromisoformat(began) if began else None
        ended = how.endedAt or self._now()
        if how.durationSeconds is not None:
            started = started or ended - timedelta(seconds=how.durationSeconds)
            ended = started + timedelta(seconds=how.durationSeconds)
        updated = {"updatedAt": iso(max(ended, self._now()))}
        updated |= {"startedAt": iso(started)} if started else {}
        return call | updated | messages.ended_fields(started, ended, how.endedReason)

    def _message(self, call: JsonObject, how: End) -> JsonObject:
        return _without(messages.report_of(call, self._now()), how.omit)

    def _report(self, call: JsonObject, type_: str, message: JsonObject, how: Travel) -> None:
        self._courier.post(
            call["id"], type_, message, auth=how.auth, copies=how.copies, drop=how.drop
        )

    def _save(self, *calls: JsonObject) -> None:
        with self._storage.transaction():
            for first in range(0, len(calls), _BATCH):
                self._storage.save(*(_row(call) for call in calls[first : first + _BATCH]))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.milliseconds() / 1000, UTC)


def _row(call: JsonObject) -> Row:
    return Row(
        kind=CALL,
        id=call["id"],
        owner=call.get("assistantId"),
        created=_milliseconds(call["createdAt"]),
        updated=_milliseconds(call["updatedAt"]),
        data=call,
    )


def _milliseconds(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1000)


def _without(message: JsonObject, names: list[str]) -> JsonObject:
    kept: dict[str, Any] = {
        name: value for name, value in message["message"].items() if name not in names
    }
    return {"message": kept}


def _unknown() -> Response:
    return JSONResponse({"error": "no such call"}, status_code=404)
