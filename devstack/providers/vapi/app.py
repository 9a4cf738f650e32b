"""The stand-in for Vapi: calls, listed with Vapi's own quirks, and the server messages about them.

`GET /call` follows docs.vapi.ai/api-reference/calls/list: a plain array, newest first, at most
1000, no cursor, no page, no sort, no duration. `GET /v2/call` has pages, and says how many calls
there are. A message is sent once, without retries, as by Vapi's default.
"""

import random
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from devstack.providers import control
from devstack.providers.clock import Clock
from devstack.providers.delivery import Courier, Delivery
from devstack.providers.faults import Faults, Misbehaving, pause
from devstack.providers.storage import Filter, Storage
from devstack.providers.vapi import control as vapi_control
from devstack.providers.vapi.messages import AuthMode, auth_headers

_OPERATORS = {"Gt": ">", "Ge": ">=", "Lt": "<", "Le": "<="}


class CallQuery(BaseModel):
    """The query of `GET /call`. Other names are refused, `page`, `cursor` and `sort` included."""

    model_config = ConfigDict(extra="forbid")

    id: str | None = None
    assistantId: str | None = None  # noqa: N815 - Vapi's names
    phoneNumberId: str | None = None  # noqa: N815
    limit: int = Field(default=100, ge=0, le=1000)
    createdAtGt: AwareDatetime | None = None  # noqa: N815
    createdAtGe: AwareDatetime | None = None  # noqa: N815
    createdAtLt: AwareDatetime | None = None  # noqa: N815
    createdAtLe: AwareDatetime | None = None  # noqa: N815
    updatedAtGt: AwareDatetime | None = None  # noqa: N815
    updatedAtGe: AwareDatetime | None = None  # noqa: N815
    updatedAtLt: AwareDatetime | None = None  # noqa: N815
    updatedAtLe: AwareDatetime | None = None  # noqa: N815

    def filter(self) -> Filter:
        """Return the query as a filter for the storage."""
        bounds = [
            (column, operator, _milliseconds(moment))
            for column in ("created", "updated")
            for suffix, operator in _OPERATORS.items()
            if (moment := getattr(self, f"{column}At{suffix}")) is not None
        ]
        named = {"id": self.id, "phoneNumberId": self.phoneNumberId}
        where = {name: value for name, value in named.items() if value is not None}
        return Filter(vapi_control.CALL, owner=self.assistantId, where=where, bounds=bounds)


class PageQuery(CallQuery):
    """The query of `GET /v2/call`, with pages that are counted from one."""

    page: int = Field(default=1, ge=1)
    sortOrder: Literal["ASC", "DESC"] = "DESC"  # noqa: N815 - Vapi's name


class Paging(BaseModel):
    """How `GET /v2/call` fails: calls of one instant in any order, always the first page, none."""

    model_config = ConfigDict(extra="forbid")

    shuffled: bool = False
    stuck: bool = False
    empty: bool = False


def create_vapi(
    storage: Storage,
    clock: Clock,
    *,
    api_key: str | None = None,
    webhook_url: str | None = None,
    webhook_secret: str = "vapi_stand_in",  # noqa: S107 - a stand-in's default
    auth: AuthMode = "bearer",
) -> Starlette:
    """Build the stand-in. It accepts any bearer key, unless one is given."""

    def sign(body: bytes, delivery: Delivery) -> dict[str, str]:
        return auth_headers(delivery.auth or auth, webhook_secret, body)

    courier = Courier(storage, "vapi", url=webhook_url, sign=sign, retries=False)
    faults = Faults(storage, "vapi")
    calls = _Calls(storage, api_key)
    return Starlette(
        routes=[
            Route("/call", calls.listed, methods=["GET"]),
            Route("/v2/call", calls.paged, methods=["GET"]),
            Route("/_control/paging", calls.misbehave, methods=["POST"]),
            Route("/call/{id}", calls.one, methods=["GET"]),
            Route("/call/{id}", calls.delete, methods=["DELETE"]),
            *vapi_control.routes(storage, clock, courier, sign),
            *control.clock_routes(clock, lambda: None),
            *control.delivery_routes(courier),
            *control.fault_routes(faults),
            control.health_route(),
        ],
        lifespan=control.lifespan(courier),
        middleware=[Middleware(Misbehaving, faults=faults, error_body=_fault_body)],
        exception_handlers={ValidationError: control.refuse},
    )


_INVALID_KEY = (
    "Invalid Key. Hot tip, you may be using the private key instead of the public key, "
    "or vice versa."
)


class _Calls:
    """Vapi's API, as far as callwallet reads it."""

    def __init__(self, storage: Storage, api_key: str | None) -> None:
        self._storage = storage
        self._api_key = api_key
        self._paging = Paging()

    async def misbehave(self, request: Request) -> Response:
        """Fail at paging from now on, or no more."""
        self._paging = await control.read(request, Paging)
        return JSONResponse(self._paging.model_dump())

    async def listed(self, request: Request) -> Response:
        """GET /call."""
        await pause(request.scope)
        if not self._authorized(request):
            return _error(401, "Unauthorized", _INVALID_KEY)
        try:
            query = CallQuery.model_validate(dict(request.query_params))
        except ValidationError as error:
            return _error(400, "Bad Request", _complaints(error))
        found = self._storage.select_json(query.filter(), query.limit)
        return Response("[" + ",".join(found) + "]", media_type="application/json")

    async def paged(self, request: Request) -> Response:
        """GET /v2/call (vapi_server_sdk 3.0.0, `CallPaginatedResponse`)."""
        await pause(request.scope)
        if not self._authorized(request):
            return _error(401, "Unauthorized", _INVALID_KEY)
        try:
            query = PageQuery.model_validate(dict(request.query_params))
        except ValidationError as error:
            return _error(400, "Bad Request", _complaints(error))
        found = [] if self._paging.empty else self._storage.select(query.filter())
        if self._paging.shuffled:
            random.shuffle(found)
        found.sort(key=lambda call: call["createdAt"], reverse=query.sortOrder == "DESC")
        first = 0 if self._paging.stuck else (query.page - 1) * query.limit
        metadata = {
            "itemsPerPage": query.limit,
            "totalItems": len(found),
            "currentPage": query.page,
        }
        return JSONResponse({"results": found[first : first + query.limit], "metadata": metadata})

    async def one(self, request: Request) -> Response:
        """GET /call/{id}."""
        await pause(request.scope)
        if not self._authorized(request):
            return _error(401, "Unauthorized", _INVALID_KEY)
        call = self._storage.get(vapi_control.CALL, request.path_params["id"])
        if call is None:
            return _error(404, "Not Found", "Couldn't Get Call. Call Does Not Exist.")
        return JSONResponse(call)

    async def delete(self, request: Request) -> Response:
        """DELETE /call/{id}: the record is gone, and the call, if it goes on, does."""
        answer = await self.one(request)
        if answer.status_code == HTTPStatus.OK:
            self._storage.delete(vapi_control.CALL, request.path_params["id"])
        return answer

    def _authorized(self, request: Request) -> bool:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        return scheme == "Bearer" and bool(key) and self._api_key in (None, key)


def _error(status: int, name: str, message: str | list[str]) -> Response:
    body = {"message": message, "error": name, "statusCode": status}
    return JSONResponse(body, status_code=status)


def _complaints(error: ValidationError) -> list[str]:
    """Return the errors of a query in the words of Vapi's validator."""
    return [
        f"property {found['loc'][0]} should not exist"
        if found["type"] == "extra_forbidden"
        else f"{found['loc'][0]}: {found['msg']}"
        for found in error.errors(include_url=False)
    ]


def _fault_body(status: int) -> tuple[str, bytes]:
    body = JSONResponse({"message": "The stand-in was told to fail.", "statusCode": status}).body
    return "application/json", bytes(body)


def _milliseconds(moment: AwareDatetime) -> int:
    """Return the whole milliseconds of a moment, as JavaScript's `Date` has them."""
    return (moment - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)
