"""The Slack sink: an incoming webhook that checks the shape of a message and keeps it.

Answers as docs.slack.dev/messaging/sending-messages-using-incoming-webhooks says: plain text.
"""

import secrets
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from devstack.providers import control
from devstack.providers.clock import Clock
from devstack.providers.faults import Faults, Misbehaving, pause
from devstack.providers.storage import Filter, Row, Storage

_KIND = "slack.message"
_TOO_MANY = 429


class Block(BaseModel):
    """One block; what else it holds depends on its type."""

    type: str


class Message(BaseModel):
    """What an incoming webhook accepts, as far as callwallet uses it."""

    text: str | None = None
    blocks: list[Block] = []
    attachments: list[dict[str, Any]] = []


def create_slack(storage: Storage, clock: Clock) -> Starlette:
    """Build the sink."""

    async def receive(request: Request) -> Response:
        await pause(request.scope)
        body = await request.body()
        try:
            message = Message.model_validate_json(body)
        except ValidationError:
            return PlainTextResponse("invalid_payload", status_code=400)
        if not (message.text or message.blocks or message.attachments):
            return PlainTextResponse("no_text", status_code=400)
        _keep(storage, clock, await request.json())
        return PlainTextResponse("ok")

    async def messages(_: Request) -> Response:
        return JSONResponse({"messages": storage.select(Filter(_KIND))[::-1]})

    async def forget(_: Request) -> Response:
        storage.delete(_KIND)
        return JSONResponse({"messages": []})

    faults = Faults(storage, "slack")
    return Starlette(
        routes=[
            Route("/services/{rest:path}", receive, methods=["POST"]),
            Route("/_control/messages", messages, methods=["GET"]),
            Route("/_control/messages", forget, methods=["DELETE"]),
            *control.clock_routes(clock, lambda: None),
            *control.fault_routes(faults),
            control.health_route(),
        ],
        middleware=[Middleware(Misbehaving, faults=faults, error_body=_fault_body)],
        exception_handlers={ValidationError: control.refuse},
    )


def _keep(storage: Storage, clock: Clock, message: dict[str, Any]) -> None:
    now = clock.milliseconds()
    row = Row(kind=_KIND, id=secrets.token_hex(8), created=now, updated=now, data=message)
    storage.save(row)


def _fault_body(status: int) -> tuple[str, bytes]:
    return "text/plain", b"rate_limited" if status == _TOO_MANY else b"server_error"
