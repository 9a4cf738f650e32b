"""Counting what was turned away, and documenting the answers that all webhooks share."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from api.metrics import Metrics
from billing.errors import BillingError
from billing.webhook import Source


@contextmanager
def counted(metrics: Metrics, source: Source) -> Iterator[None]:
    """Count a webhook that is turned away, under the code of the refusal."""
    try:
        yield
    except BillingError as refusal:
        metrics.webhooks.labels(source, refusal.code).inc()
        raise


def _problem(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/problem+json": {}}}


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
    400: _problem("Malformed; nothing was stored"),
    401: _problem("Wrong signature, or a stale or future timestamp; nothing was stored"),
    413: _problem("Larger than 1 MiB; nothing was stored"),
    415: _problem("Not application/json; nothing was stored"),
    503: _problem("Neither PostgreSQL nor Temporal could take it; see `Retry-After`"),
}
