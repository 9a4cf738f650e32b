"""Errors as RFC 9457 problem documents, each with a stable `code`."""

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from temporalio.service import RPCError

from billing.errors import BillingError

RETRY_AFTER_SECONDS = 5
# What SQLAlchemy and psycopg raise when PostgreSQL cannot be reached or does not answer in time.
DATABASE_GONE = (OperationalError, InterfaceError, PoolTimeout, TimeoutError, ConnectionError)
# What Temporal's client raises when the server cannot be reached; lazily connected, RuntimeError.
TEMPORAL_GONE = (RPCError, RuntimeError)


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
    """The body is larger than any real event."""

    code = "too_large"
    status = 413
    title = "The body is too large"


class UnsupportedMediaType(BillingError):
    """The body is not JSON."""

    code = "unsupported_media_type"
    status = 415
    title = "The body must be application/json"


class Unavailable(BillingError):
    """Nothing durable could take it; the sender should send it again."""

    code = "unavailable"
    status = 503
    title = "Nothing could store this just now; try again"


def problem(status: int, code: str, title: str, detail: str, **more: object) -> JSONResponse:
    """Make a problem document; 503 says when to come back, 401 how to authenticate."""
    headers = {
        HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": str(RETRY_AFTER_SECONDS)},
        HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": "Bearer"},
    }
    content = {"type": f"urn:callwallet:problem:{code}", "title": title, "status": status}
    return JSONResponse(
        {**content, "detail": detail, "code": code, **more},
        status_code=status,
        headers=headers.get(HTTPStatus(status)),
        media_type="application/problem+json",
    )


def install(app: FastAPI) -> None:
    """Answer every error with a problem document."""
    app.add_exception_handler(BillingError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _defect)
    for gone in DATABASE_GONE:
        app.add_exception_handler(gone, _database_gone)
    app.add_exception_handler(RPCError, _temporal_gone)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, BillingError):
        raise error
    return problem(error.status, error.code, error.title, str(error))


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    errors = [
        {"at": ".".join(map(str, one["loc"])), "message": one["msg"]} for one in error.errors()
    ]
    detail = "; ".join(f"{one['at']}: {one['message']}" for one in errors)
    return problem(
        422, "invalid", "The request is not valid", detail, errors=jsonable_encoder(errors)
    )


async def _http(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    code = status.phrase.lower().replace(" ", "_")
    answer = problem(status, code, status.phrase, error.detail)
    answer.headers.update(_headers(error.headers))
    return answer


async def _database_gone(_: Request, error: Exception) -> JSONResponse:
    detail = f"PostgreSQL does not answer ({type(error).__name__})"
    return problem(503, "database_unavailable", "The database is away", detail)


async def _temporal_gone(_: Request, error: Exception) -> JSONResponse:
    detail = f"Temporal does not answer ({type(error).__name__})"
    return problem(503, "temporal_unavailable", "Temporal is away", detail)


async def _defect(_: Request, error: Exception) -> JSONResponse:
    detail = f"This is a bug, and it has been logged ({type(error).__name__})"
    return problem(500, "defect", "Something is broken here", detail)


def _headers(headers: Mapping[str, str] | None) -> Mapping[str, str]:
    return headers or {}
