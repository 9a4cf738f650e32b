"""Make calls at Vapi: register or generate them, change their status, end them (`/_control/…`)."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from devstack.providers.clock import Clock
from devstack.providers.control import read
from devstack.providers.delivery import Courier, Delivery, Sign
from devstack.providers.storage import JsonObject, Row, Storage
from devstack.providers.vapi import messages
from devstack.providers.vapi.messages import iso
from devstack.providers.vapi.requests import End, Generated, Given, Inbound, NewCall, Status, Travel

CALL = "vapi.call"

_ASSISTANT_REQUEST_SECONDS = 7.5
_BATCH = 5000


_NEW = TypeAdapter[Generated | list[NewCall] | NewCall](Generated | list[NewCall] | NewCall)


def routes(storage: Storage, clock: Clock, courier: Courier, sign: Sign) -> list[BaseRoute]:
    """Build the routes that make calls happen."""
    switchboard = _Switchboard(storage, clock, courier, sign)
    return [
        Route("/_control/calls", switchboard.register, methods=["POST"]),
        Route("/_control/calls", switchboard.clear, methods=["DELETE"]),
        Route("/_control/calls/{id}", switchboard.change, methods=["PATCH"]),
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

    async def change(self, request: Request) -> Response:
        """Change what a call has become, without a message; `updatedAt` is now, unless given."""
        changed = await read(request, Given)
        call = self._storage.get(CALL, request.path_params["id"])
        if call is None:
            return _unknown()
        call |= {"updatedAt": iso(self._now())} | changed.fields()
        self._save(call)
        return JSONResponse(call)

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
        fields = messages.ended_fields(started, ended, how.endedReason)
        fields["artifact"] |= call.get("artifact", {})
        return call | updated | fields

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
