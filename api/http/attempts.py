"""What keys have tried that they may not: lines of the log. The book has only what was changed."""

import structlog
from fastapi import Request

from billing.errors import BillingError

_log = structlog.get_logger()


def log(request: Request, refusal: BillingError) -> None:
    """Say who has tried what, and why it was refused."""
    key = getattr(request.state, "api_key", None)
    _log.warning(
        "a key may not do that",
        key_id=key and key.key_id,
        code=refusal.code,
        why=str(refusal),
        method=request.method,
        route=getattr(request.scope.get("route"), "path", None),
        about=request.path_params,
    )
