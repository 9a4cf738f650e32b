"""Whether the parts of callwallet are well, and whether this process is ready."""

from contextlib import suppress

from fastapi import APIRouter, Request, Response

from api.dependencies import SCRAPES
from api.http.problems import Forbidden, Unauthorized
from api.http.rate_limits import TooManyRequests
from api.monitoring.health import Health, Readiness, State
from api.services import Services
from store.database.errors import DATABASE_GONE

router = APIRouter(tags=["health"])


@router.get("/health", responses={503: {"model": Health}})
async def health(request: Request, response: Response) -> Health:
    """Say how the parts are, as seen a moment ago. What is not in version 0.1's needs a key."""
    found = await Services.of(request).observer.health()
    response.status_code = 503 if found.services.database is State.ERROR else 200
    return found


@router.get(
    "/health/ready", responses={503: {"model": Readiness}}, response_model_exclude_none=True
)
async def ready(request: Request, response: Response) -> Readiness:
    """Say whether this process should be sent requests: schema, Temporal, secrets."""
    services = Services.of(request)
    found = await services.observer.readiness()
    response.status_code = 200 if found.ready else 503
    if await _is_shown_to(request):
        found.warnings = [*services.warnings, *await services.observer.excess()]
    return found


async def _is_shown_to(request: Request) -> bool:
    """Return whether an operator's key asks. Whoever does not show one is answered as well."""
    with suppress(Unauthorized, Forbidden, TooManyRequests, *DATABASE_GONE):
        SCRAPES.require(await Services.of(request).keys.authenticate(request))
        return True
    return False
