"""The stand-in for Slack: an incoming webhook that checks the shape of a message and keeps it.

It answers in plain text, as docs.slack.dev/messaging/sending-messages-using-incoming-webhooks says.
Its limits are those of the Block Kit reference.
"""

import secrets
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints, ValidationError
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
# The texts of Slack's errors, by status. Of other statuses the text is not documented.
_SAYINGS = {
    400: b"invalid_payload",
    403: b"action_prohibited",
    404: b"no_service",
    410: b"channel_is_archived",
    429: b"rate_limited",
}


class Block(BaseModel):
    """One block. Its type decides what else it contains."""

    type: str


class HeaderText(BaseModel):
    """The text of a header: plain, and 150 characters at most."""

    type: Literal["plain_text"]
    text: Annotated[str, StringConstraints(min_length=1, max_length=150)]


class Text(BaseModel):
    """A text object."""

    type: Literal["plain_text", "mrkdwn"]
    text: Annotated[str, StringConstraints(min_length=1, max_length=3000)]


class FieldText(Text):
    """One of a section's fields."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=2000)]


class Header(Block):
    """A headline."""

    text: HeaderText


class Section(Block):
    """A text, fields, or both."""

    text: Text | None = None
    fields: list[FieldText] | None = Field(default=None, min_length=1, max_length=10)


class Context(Block):
    """Small print. Slack also allows images, which callwallet does not use."""

    elements: list[Text] = Field(min_length=1, max_length=10)


_BLOCKS: dict[str, type[Block]] = {
    "header": Header,
    "section": Section,
    "context": Context,
    "divider": Block,
}
_MOST_BLOCKS = 50


class Message(BaseModel):
    """A message to an incoming webhook, as far as callwallet uses what Slack accepts."""

    text: str | None = None
    blocks: list[Block] = []
    attachments: list[dict[str, Any]] = []


def create_slack(storage: Storage, clock: Clock) -> Starlette:
    """Build the stand-in."""

    async def receive(request: Request) -> Response:
        await pause(request.scope)
        body = await request.body()
        try:
            message = Message.model_validate_json(body)
        except ValidationError:
            return PlainTextResponse("invalid_payload", status_code=400)
        if not (message.text or message.blocks or message.attachments):
            return PlainTextResponse("no_text", status_code=400)
        if not _fits(await request.json()):
            return PlainTextResponse("invalid_blocks", status_code=400)
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


def _fits(message: dict[str, Any]) -> bool:
    """Return whether every block is of a known type, and within Slack's limits."""
    blocks = message.get("blocks", [])
    if any(block["type"] not in _BLOCKS for block in blocks):
        return False
    try:
        for block in blocks:
            _BLOCKS[block["type"]].model_validate(block)
    except ValidationError:
        return False
    sections = [block for block in blocks if block["type"] == "section"]
    return len(blocks) <= _MOST_BLOCKS and all({"text", "fields"} & set(one) for one in sections)


def _keep(storage: Storage, clock: Clock, message: dict[str, Any]) -> None:
    now = clock.milliseconds()
    row = Row(kind=_KIND, id=secrets.token_hex(8), created=now, updated=now, data=message)
    storage.save(row)


def _fault_body(status: int) -> tuple[str, bytes]:
    return "text/plain", _SAYINGS.get(status, b"server_error")
