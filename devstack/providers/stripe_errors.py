"""Stripe's refusals: status and error body, as docs.stripe.com/api/errors describes them."""

from typing import Any

import orjson

DOC_URL = "https://stripe.com/docs/error-codes/"


class StripeError(Exception):
    """An error answer; `fields` go into the body's `error` object."""

    def __init__(self, status: int, type_: str, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.status = status
        extra = {name: value for name, value in fields.items() if value is not None}
        self.body = {"error": {"type": type_, "message": message, **extra}}


def invalid_request(message: str, *, status: int = 400, **fields: Any) -> StripeError:
    """Build an `invalid_request_error`; fields are `code`, `param` and the object concerned."""
    if code := fields.get("code"):
        fields["doc_url"] = DOC_URL + str(code).replace("_", "-")
    return StripeError(status, "invalid_request_error", message, **fields)


def no_such(kind: str, object_id: str, param: str, *, status: int = 400) -> StripeError:
    """Build the error for an unknown id: 404 when it was in the path, 400 in a parameter."""
    message = f"No such {kind}: '{object_id}'"
    return invalid_request(message, status=status, code="resource_missing", param=param)


def unauthorized(key: str) -> StripeError:
    """Build the answer to a request without a usable key."""
    if key:
        return invalid_request(f"Invalid API Key provided: {key[:8]}****{key[-4:]}", status=401)
    message = (
        "You did not provide an API key. You need to provide your API key in the Authorization "
        "header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
    )
    return invalid_request(message, status=401)


def fault_body(status: int) -> tuple[str, bytes]:
    """Make the body of an answer that a fault replaced."""
    if status == 429:  # noqa: PLR2004 - too many requests
        message = "Request rate limit exceeded."
        error = {"type": "invalid_request_error", "code": "rate_limit", "message": message}
    else:
        error = {"type": "api_error", "message": "An unexpected error occurred. Please try again."}
    return "application/json", orjson.dumps({"error": error})
