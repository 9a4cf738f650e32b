"""The control routes that every stand-in has: clock, deliveries and faults. They need no key."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from devstack.providers.clock import Clock
from devstack.providers.delivery import Courier, Policy
from devstack.providers.faults import Fault, Faults

Body = TypeVar("Body", bound=BaseModel)


class Advance(BaseModel):
    """How far to move the clock."""

    model_config = ConfigDict(extra="forbid")

    advance_seconds: float = Field(ge=0)


async def read(request: Request, model: type[Body]) -> Body:
    """Parse a control request. An empty body means all defaults. Raise ValidationError."""
    return model.model_validate_json(await request.body() or b"{}")


async def refuse(_: Request, error: Exception) -> Response:
    """Answer a control request that cannot be parsed, and name the field."""
    assert isinstance(error, ValidationError)  # noqa: S101 - Starlette passes only what is registered
    return JSONResponse(
        {"error": error.errors(include_url=False, include_context=False)}, status_code=400
    )


def clock_routes(clock: Clock, on_advance: Callable[[], None]) -> list[BaseRoute]:
    """Return routes to read and advance the clock; `on_advance` is called after each advance."""

    def shown() -> JSONResponse:
        return JSONResponse({"now": clock.seconds(), "offset_seconds": clock.offset_seconds})

    async def show(_: Request) -> Response:
        return shown()

    async def advance(request: Request) -> Response:
        clock.advance((await read(request, Advance)).advance_seconds)
        on_advance()
        return shown()

    path = "/_control/clock"
    return [Route(path, show, methods=["GET"]), Route(path, advance, methods=["POST"])]


def fault_routes(faults: Faults) -> list[BaseRoute]:
    """Return routes to set, read (with their hits) and clear faults."""

    def shown() -> JSONResponse:
        return JSONResponse({"faults": [fault.model_dump() for fault in faults.all]})

    async def show(_: Request) -> Response:
        return shown()

    async def add(request: Request) -> Response:
        faults.add(await read(request, Fault))
        return shown()

    async def clear(_: Request) -> Response:
        faults.clear()
        return shown()

    path = "/_control/faults"
    return [
        Route(path, show, methods=["GET"]),
        Route(path, add, methods=["POST"]),
        Route(path, clear, methods=["DELETE"]),
    ]


def delivery_routes(courier: Courier) -> list[BaseRoute]:
    """Return routes to read deliveries, and to change how they are made.

    A POST changes the fields that it names. A DELETE restores the policy of the start, and drops
    what waits.
    """

    async def show(_: Request) -> Response:
        policy = courier.policy.model_dump()
        return JSONResponse({"policy": policy, "deliveries": courier.deliveries()})

    async def change(request: Request) -> Response:
        wanted = await read(request, Policy)
        courier.change(courier.policy.model_copy(update=wanted.model_dump(exclude_unset=True)))
        return JSONResponse({"policy": courier.policy.model_dump()})

    async def reset(_: Request) -> Response:
        courier.reset()
        return JSONResponse({"policy": courier.policy.model_dump()})

    path = "/_control/deliveries"
    return [
        Route(path, show, methods=["GET"]),
        Route(path, change, methods=["POST"]),
        Route(path, reset, methods=["DELETE"]),
    ]


def health_route() -> BaseRoute:
    """Return a route that answers as soon as the stand-in serves."""

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    return Route("/_control/health", health)


def lifespan(
    courier: Courier,
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    """Return a lifespan that sends what waits when the app starts, and stops when it ends."""

    @asynccontextmanager
    async def run(_: Starlette) -> AsyncIterator[None]:
        courier.resume()
        yield
        await courier.close()

    return run
