"""Errors as RFC 9457 problem documents, each with a stable `code`."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http import attempts
from api.http.methods import allowed_methods
from api.http.rate_limits import TooManyRequests
from billing.errors import BillingError, Conflict
from store.database.errors import DATABASE_GONE

RETRY_AFTER_SECONDS = 5
MEDIA_TYPE = "application/problem+json"
IDEMPOTENCY_KEY = "Idempotency-Key"
# Who has made more mistakes learns the rest by and by: an answer is not for its sender to size.
MOST_ERRORS = 20
LONGEST_TEXT = 300


class Unauthorized(BillingError):
    """The caller has not shown who it is."""

    code = "unauthorized"
    status = 401
    title = "The credentials are missing or wrong"


class Forbidden(BillingError):
    """The key is good, but not for this."""

    code = "forbidden"
    status = 403
    title = "This key may not do that"


class Malformed(BillingError):
    """The body is not what the sender's documentation says."""

    code = "malformed"
    status = 400
    title = "The body could not be understood"


class TooLarge(BillingError):
    """The body is larger than any real event or request."""

    code = "too_large"
    status = 413
    title = "The body is too large"


class UnsupportedMediaType(BillingError):
    """The body is not of the media type that this endpoint takes."""

    code = "unsupported_media_type"
    status = 415
    title = "The body is of another media type"


class Unavailable(BillingError):
    """Nothing durable could store it. The sender should send it again."""

    code = "unavailable"
    status = 503
    title = "Nothing could store this just now; try again"


class IdempotencyKeyMissing(BillingError):
    """The request moves money. Without the header it would do so twice if it was sent twice."""

    code = "idempotency_key_missing"
    status = 400
    title = "Idempotency-Key is missing"


class IdempotencyKeyReused(Conflict):
    """The caller has used this key for another request."""

    code = "idempotency_key_reused"
    title = "Idempotency-Key is already used"


class IdempotencyKeyInUse(Conflict):
    """The same request is being acted on at this moment."""

    code = "idempotency_key_in_use"
    title = "A request is outstanding for this Idempotency-Key"


class InvalidField(BaseModel):
    """Where a request is not valid, as a dotted path, and why."""

    at: str
    message: str


class Problem(BaseModel):
    """An RFC 9457 problem document. `code` never changes; `errors` come with `invalid`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:callwallet:problem:not_found",
                    "title": "Nothing is known under this id",
                    "status": 404,
                    "detail": "there is no organization acme",
                    "code": "not_found",
                }
            ]
        }
    )

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[InvalidField] | None = None


_MEANINGS = {
    400: "The body could not be understood",
    401: "The API key is missing, unknown, revoked or expired",
    403: "The key is good, but not for this; `detail` says which scope is",
    404: "Nothing is known under this id",
    409: "Something else has this id; it was not changed",
    413: "The body is larger than 64 KiB, or has more than 500 values",
    422: "The request is not valid; `errors` say where",
    429: "Too many of these with this key, or wrong keys from this address; see `Retry-After`",
    503: "PostgreSQL, Temporal or its worker is away; see `Retry-After`",
}
# What comes with another.
_FOLLOWERS = {400: 413, 401: 429}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's descriptions of problems, by status. Their schema is `Problem`.

    Wherever a key may be wrong, it may have been so too often; a body may be too large.
    """
    followers = [_FOLLOWERS[status] for status in statuses if status in _FOLLOWERS]
    return {status: described(_MEANINGS[status]) for status in sorted({*statuses, *followers})}


def described(description: str) -> dict[str, Any]:
    """Return OpenAPI's description of a problem. FastAPI would call a model `application/json`."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": description, "content": {MEDIA_TYPE: {"schema": schema}}}


def problem(
    status: int, code: str, title: str, detail: str, errors: Sequence[InvalidField] | None = None
) -> JSONResponse:
    """Return a problem document. A 503 says when to try again, a 401 how to authenticate."""
    headers = {
        HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": str(RETRY_AFTER_SECONDS)},
        HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": "Bearer"},
    }
    content = Problem(
        type=f"urn:callwallet:problem:{code}",
        title=title,
        status=status,
        detail=detail,
        code=code,
        errors=list(errors) if errors else None,
    )
    return JSONResponse(
        content.model_dump(exclude_none=True),
        status_code=status,
        headers=headers.get(HTTPStatus(status)),
        media_type=MEDIA_TYPE,
    )


def install(app: FastAPI) -> None:
    """Make the application answer every error with a problem document."""
    app.add_middleware(TooLargeIsAProblem)
    app.add_exception_handler(BillingError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _defect)
    for gone in DATABASE_GONE:
        app.add_exception_handler(gone, _database_gone)


def refused(refusal: BillingError) -> JSONResponse:
    """Return the problem document of a refusal."""
    answer = problem(refusal.status, refusal.code, refusal.title, str(refusal))
    if isinstance(refusal, TooManyRequests):
        answer.headers["Retry-After"] = str(refusal.retry_after_seconds)
    return answer


class TooLargeIsAProblem:
    """ASGI middleware: what the framework says in plain text of a body that is too large."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Replace its answer, and pass on all others."""
        is_replaced = False

        async def answer(message: Message) -> None:
            nonlocal is_replaced
            if _is_plainly_too_large(message):
                is_replaced = True
                await refused(TooLarge("it is larger than this route takes"))(scope, receive, send)
            elif not is_replaced:
                await send(message)

        await self._app(scope, receive, answer)


def _is_plainly_too_large(message: Message) -> bool:
    is_start = message["type"] == "http.response.start"
    if not is_start or message["status"] != HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return False
    return (b"content-type", MEDIA_TYPE.encode()) not in message["headers"]


async def _refused(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, BillingError):
        raise error
    if error.status == HTTPStatus.FORBIDDEN:
        attempts.log(request, error)
    return refused(error)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    found = error.errors()
    if any(_lacks_its_key(one) for one in found):
        return refused(
            IdempotencyKeyMissing(
                "this moves money: send an Idempotency-Key header of your own making (a UUID, or"
                " what it is for), and the same one whenever you send the same request again"
            )
        )
    if any(one["type"] == "json_invalid" for one in found):
        return refused(Malformed("the body is not JSON"))
    errors = [_invalid_field(one) for one in found[:MOST_ERRORS]]
    more = f"; and {len(found) - MOST_ERRORS} more" if len(found) > MOST_ERRORS else ""
    detail = "; ".join(f"{one.at}: {one.message}" for one in errors) + more
    return problem(422, "invalid", "The request is not valid", detail, errors)


async def _http(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    if status is HTTPStatus.BAD_REQUEST:  # FastAPI's only one: not UTF-8, or nested too deeply
        return refused(Malformed(error.detail))
    if status is HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return refused(TooLarge(error.detail))
    code = status.phrase.lower().replace(" ", "_")
    answer = problem(status, code, status.phrase, error.detail)
    answer.headers.update(_headers(error.headers))
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        answer.headers["Allow"] = ", ".join(allowed_methods(request))
    return answer


async def _database_gone(_: Request, error: Exception) -> JSONResponse:
    detail = f"PostgreSQL does not answer ({type(error).__name__})"
    return problem(503, "database_unavailable", "The database is away", detail)


async def _defect(_: Request, error: Exception) -> JSONResponse:
    detail = f"This is a bug, and it has been logged ({type(error).__name__})"
    return problem(500, "defect", "Something is broken here", detail)


def _lacks_its_key(error: Mapping[str, Any]) -> bool:
    return error["type"] == "missing" and tuple(error["loc"]) == ("header", IDEMPOTENCY_KEY)


def _invalid_field(error: Mapping[str, Any]) -> InvalidField:
    """Say where a request is not valid. The sender's own names may be long, or not Unicode."""
    at = ".".join(map(str, error["loc"])).encode(errors="replace").decode()
    return InvalidField(at=_shortened(at), message=_shortened(error["msg"]))


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def _headers(headers: Mapping[str, str] | None) -> Mapping[str, str]:
    return headers or {}
