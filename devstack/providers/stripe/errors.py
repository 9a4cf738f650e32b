"""Stripe's errors: status and body, as docs.stripe.com/api/errors describes them."""

from typing import Any

import orjson

DOC_URL = "https://stripe.com/docs/error-codes/"


class StripeError(Exception):
    """An error as an answer. `fields` go into the `error` object of the body."""

    def __init__(self, status: int, type_: str, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.status = status
        extra = {name: value for name, value in fields.items() if value is not None}
        self.body = {"error": {"type": type_, "message": message, **extra}}


def invalid_request(message: str, *, status: int = 400, **fields: Any) -> StripeError:
    """Build an `invalid_request_error`. Fields are `code`, `param` and the object concerned."""
    if code := fields.get("code"):
        fields["doc_url"] = DOC_URL + str(code).replace("_", "-")
    return StripeError(status, "invalid_request_error", message, **fields)


def no_such(kind: str, object_id: str, param: str, *, status: int = 400) -> StripeError:
    """Build the error for an unknown id: a 404 if it is in the path, a 400 in a parameter."""
    message = f"No such {kind}: '{object_id}'"
    return invalid_request(message, status=status, code="resource_missing", param=param)


def unauthorized(key: str) -> StripeError:
    """Build the error for a request without a valid key."""
    if key:
        return invalid_request(f"Invalid API Key provided: {key[:8]}****{key[-4:]}", status=401)
    message = (
        "You did not provide an API key. You need to provide your API key in the Authorization "
        "header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
    )
    return invalid_request(message, status=401)


_REFUSALS = {
    401: ("Invalid API Key provided: sk_test_****gone", None),
    403: ("The provided key does not have the required permissions for this endpoint.", None),
    404: ("No such object: it is of another account, or mode", "resource_missing"),
    429: ("Request rate limit exceeded.", "rate_limit"),
}


def fault_body(status: int) -> tuple[str, bytes]:
    """Build the body of an error that a fault answers with."""
    message, code = _REFUSALS.get(status, ("An unexpected error occurred. Please try again.", None))
    kind = "invalid_request_error" if status in _REFUSALS else "api_error"
    error = {"type": kind, "message": message} | ({"code": code} if code else {})
    return "application/json", orjson.dumps({"error": error})
