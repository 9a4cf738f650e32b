"""The stand-in for Twilio: messages, read as Twilio shows them, and the callbacks about them.

`GET …/Messages/{sid}.json` takes basic auth with an account and its token. A callback is sent once,
without retries, as Twilio does by default. A test may have it sent out of order, twice or never.
"""

import base64
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from devstack.providers import control
from devstack.providers.clock import Clock
from devstack.providers.delivery import Courier, Delivery
from devstack.providers.faults import Faults, Misbehaving, pause
from devstack.providers.storage import JsonObject, Row, Storage
from devstack.providers.twilio import messages as twilio_messages
from devstack.providers.twilio.messages import ACCOUNT_SID, API

_KIND = "twilio.message"
Status = Literal[
    "accepted", "scheduled", "queued", "sending", "sent", "delivered", "read", "undelivered",
    "failed", "canceled",
]  # fmt: skip


class NewMessage(BaseModel):
    """A message to be created, in Twilio's names. No callback is sent about its first status."""

    model_config = ConfigDict(extra="forbid")

    sid: str | None = None
    account_sid: str = ACCOUNT_SID
    to: str = "+447700900123"
    from_: str | None = Field(default=None, alias="from")
    messaging_service_sid: str | None = None
    segments: int = Field(default=1, ge=0)
    media: int = Field(default=0, ge=0)
    created_at: datetime | None = None
    status: Status = "queued"
    error_code: int | None = None

    def message(self, now: datetime) -> JsonObject:
        """Build the message object. One with media files has an id of an MMS, over any channel."""
        wanted = self.model_dump(exclude={"segments", "created_at"})
        wanted["sid"] = self.sid or f"{'MM' if self.media else 'SM'}{secrets.token_hex(16)}"
        made = twilio_messages.message_object(
            created_at=self.created_at or now, segments=self.segments, **wanted
        )
        return made | {"segments": self.segments}


class Move(BaseModel):
    """A message's next status, and how the callback about it is sent."""

    model_config = ConfigDict(extra="forbid")

    status: Status
    error_code: int | None = None
    segments: int | None = Field(default=None, ge=0)
    copies: int | None = Field(default=None, ge=1)
    drop: bool = False


_NEW = TypeAdapter[list[NewMessage] | NewMessage](list[NewMessage] | NewMessage)


def create_twilio(
    storage: Storage, clock: Clock, *, tokens: Mapping[str, str], webhook_url: str | None = None
) -> Starlette:
    """Build the stand-in; `tokens` are the live tokens by account."""

    def sign(body: bytes, _: Delivery) -> dict[str, str]:
        parameters = parse_qsl(body.decode(), keep_blank_values=True)
        token = tokens.get(dict(parameters)["AccountSid"], "")
        return twilio_messages.signed_headers(str(courier.policy.url), parameters, token)

    courier = Courier(storage, "twilio", url=webhook_url, sign=sign, retries=False)
    faults = Faults(storage, "twilio")
    messages = _Messages(storage, clock, courier, tokens)
    return Starlette(
        routes=[
            Route(f"{API}/Accounts/{{account}}/Messages/{{sid}}.json", messages.read),
            Route(
                f"{API}/Accounts/{{account}}/Messages/{{sid}}.json",
                messages.delete,
                methods=["DELETE"],
            ),
            Route("/_control/messages", messages.create, methods=["POST"]),
            Route("/_control/messages", messages.clear, methods=["DELETE"]),
            Route("/_control/messages/{sid}/status", messages.move, methods=["POST"]),
            *control.clock_routes(clock, lambda: None),
            *control.delivery_routes(courier),
            *control.fault_routes(faults),
            control.health_route(),
        ],
        lifespan=control.lifespan(courier),
        middleware=[Middleware(Misbehaving, faults=faults, error_body=_fault_body)],
        exception_handlers={ValidationError: control.refuse},
    )


class _Messages:
    """Twilio's API as far as callwallet reads it, and the routes that create messages."""

    def __init__(
        self, storage: Storage, clock: Clock, courier: Courier, tokens: Mapping[str, str]
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._courier = courier
        self._tokens = tokens

    async def read(self, request: Request) -> Response:
        """GET …/Accounts/{account}/Messages/{sid}.json."""
        await pause(request.scope)
        account, sid = request.path_params["account"], request.path_params["sid"]
        if not self._authorized(request, account):
            return _error(401, 20003, "Authenticate")
        message = self._storage.get(_KIND, sid)
        if message is None or message["account_sid"] != account:
            path = f"{API}/Accounts/{account}/Messages/{sid}.json"
            return _error(404, 20404, f"The requested resource {path} was not found")
        return JSONResponse(_shown(message))

    async def delete(self, request: Request) -> Response:
        """DELETE …/Messages/{sid}.json: the record is gone; what was sent, was sent."""
        answer = await self.read(request)
        if answer.status_code != HTTPStatus.OK:
            return answer
        self._storage.delete(_KIND, request.path_params["sid"])
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def create(self, request: Request) -> Response:
        """Create one message or many. No callback is sent."""
        wanted = _NEW.validate_json(await request.body() or b"{}")
        many = wanted if isinstance(wanted, list) else [wanted]
        made = [new.message(self._now()) for new in many]
        self._storage.save(*(self._row(message) for message in made))
        return JSONResponse({"sids": [message["sid"] for message in made]})

    async def move(self, request: Request) -> Response:
        """Give a message a status, whatever it had before, and send the callback."""
        how = await control.read(request, Move)
        message = self._storage.get(_KIND, request.path_params["sid"])
        if message is None:
            return JSONResponse({"error": "no such message"}, status_code=404)
        if how.segments is not None:
            message["segments"] = how.segments
        now = self._now()
        message |= twilio_messages.moved(how.status, message["segments"], now, how.error_code)
        body = twilio_messages.body_of(twilio_messages.status_callback(message)).decode()
        with self._storage.transaction():
            self._storage.save(self._row(message))
            self._courier.post(message["sid"], how.status, body, copies=how.copies, drop=how.drop)
        self._courier.release()
        return JSONResponse(_shown(message))

    async def clear(self, _: Request) -> Response:
        """Delete all messages."""
        self._storage.delete(_KIND)
        return JSONResponse({"sids": []})

    def _authorized(self, request: Request, account: str) -> bool:
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        wanted = base64.b64encode(f"{account}:{self._tokens.get(account)}".encode()).decode()
        return scheme == "Basic" and account in self._tokens and shown == wanted

    def _row(self, message: JsonObject) -> Row:
        now = self._clock.milliseconds()
        return Row(kind=_KIND, id=message["sid"], created=now, updated=now, data=message)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.milliseconds() / 1000, UTC)


def _shown(message: JsonObject) -> dict[str, Any]:
    """Return the message as Twilio shows it, without the stand-in's own count of segments."""
    return {name: value for name, value in message.items() if name != "segments"}


def _error(status: int, code: int, message: str) -> Response:
    more = f"https://www.twilio.com/docs/errors/{code}"
    body = {"code": code, "message": message, "more_info": more, "status": status}
    return JSONResponse(body, status_code=status)


def _fault_body(status: int) -> tuple[str, bytes]:
    code = 20429 if status == 429 else 20500  # noqa: PLR2004
    return "application/json", bytes(_error(status, code, "The stand-in was told to fail.").body)
