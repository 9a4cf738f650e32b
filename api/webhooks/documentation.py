"""Counting what was turned away, and documenting the answers that all webhooks share."""

from collections.abc import Sequence
from typing import Any

from api.http.problems import described
from api.webhooks.exchange import FORM, JSON


def body_like(example: dict[str, Any]) -> dict[str, Any]:
    """Describe to OpenAPI a body that is read raw, because its signature is over the bytes."""
    content = {"schema": {"type": "object"}, "example": example}
    return {"requestBody": {"required": True, "content": {JSON: content}}}


def form_like(example: dict[str, str], required: Sequence[str]) -> dict[str, Any]:
    """The same of a form, of which some parameters are needed."""
    content = {"schema": {"type": "object", "required": list(required)}, "example": example}
    return {"requestBody": {"required": True, "content": {FORM: content}}}


def examples(**named: dict[str, Any]) -> dict[str, Any]:
    """Describe to OpenAPI several JSON objects of one kind, by name."""
    values = {name: {"value": value} for name, value in named.items()}
    return {"application/json": {"schema": {"type": "object"}, "examples": values}}


WEBHOOK_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "It is durable (`accepted`), was before (`duplicate`), or moves no money"
        " (`ignored`)",
        "content": {
            "application/json": {
                "example": {"status": "accepted", "event": "0199a1f2-call:end-of-call-report"}
            }
        },
    },
    400: described("Malformed; nothing was stored"),
    401: described("Wrong signature, or a stale or future timestamp; nothing was stored"),
    413: described("Larger than 1 MiB, at Vapi 8 MiB; nothing was stored"),
    415: described("Of another media type; nothing was stored"),
    503: described("Neither PostgreSQL nor Temporal could take it; see `Retry-After`"),
}
