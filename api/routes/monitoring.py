"""Figures on how well callwallet works, for operators and for Prometheus."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.security import HTTPAuthorizationCredentials
from prometheus_client import CONTENT_TYPE_LATEST

from api.dependencies import BEARER, SEES_ALL, Allowed, KeyFirst, Limit
from api.http.fields import NAME
from api.http.problems import Forbidden, Unauthorized, documented
from api.http.rate_limits import TooManyRequests
from api.monitoring.monitor import PATIENCE_SECONDS, Monitor
from api.services import Services
from billing.monitoring import Figures
from billing.organizations import OPERATORS_SCOPES, ApiKey
from billing.parking.parked_work import ParkedTotal
from processes.errors import TEMPORAL_GONE
from store.database.errors import DATABASE_GONE

router = APIRouter(tags=["monitoring"], route_class=KeyFirst)
# It lets those in whom the database let in last, while the database is away.
metrics_router = APIRouter(tags=["monitoring"])

TEMPORAL_SECONDS = 2.0
TEMPORAL_IS_AWAY = "Temporal does not answer: what is parked is not known"


def _monitor(request: Request) -> Monitor:
    return Services.of(request).monitor


class _Scraper(Allowed):
    """Lets operators' keys in. While the database is away, those that it accepted last time."""

    async def __call__(
        self,
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)],
    ) -> bool:
        """Return whether the database has answered. Raise Unauthorized and Forbidden."""
        monitor = _monitor(request)
        shown = credentials.credentials if credentials else ""
        try:
            key = self.require(await _in_time(request))
        except (Unauthorized, Forbidden, TooManyRequests):
            monitor.forget(shown)
            raise
        except DATABASE_GONE:
            if not monitor.remembers(shown, datetime.fromtimestamp(time.time(), UTC)):
                raise
            return False
        monitor.remember(shown, key.expires_at)
        return True


_Monitor = Annotated[Monitor, Depends(_monitor)]
_DatabaseIsUp = Annotated[bool, Depends(_Scraper(*OPERATORS_SCOPES))]
_OrgId = Annotated[str | None, Query(pattern=NAME, description="This organisation only")]


@router.get(
    "/v1/monitoring",
    dependencies=[Depends(SEES_ALL)],
    responses=documented(401, 403, 422, 503),
)
async def read(monitor: _Monitor, limit: Limit = 20, org_id: _OrgId = None) -> Figures:
    """Say how well it goes: success rates, what waits, recharges, reconciliations, audit, alerts.

    Of the organisations with a call or a webhook in the last day the first `limit`, the one with
    the worst rate of billing first.
    """
    figures, parked = await asyncio.gather(monitor.figures(), _parked(monitor))
    wanted = [one for one in figures.organizations if org_id in (None, one.org_id)]
    return replace(
        figures,
        organizations=tuple(wanted[:limit]),
        parked=parked,
        notes=(TEMPORAL_IS_AWAY,) if parked is None else (),
    )


@metrics_router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **documented(401, 403, 503)},
)
async def metrics(request: Request, database_is_up: _DatabaseIsUp) -> Response:
    """Give Prometheus what this process has counted, and gauges of the whole.

    The gauges are some seconds old, and the same from every process. What does not answer has none,
    and its `…_up` is 0.
    """
    services = Services.of(request)
    gauges = await services.monitor.gauges(database_is_up=database_is_up)
    rendered = services.metrics.render(gauges)
    return Response(rendered, media_type=CONTENT_TYPE_LATEST)


async def _in_time(request: Request) -> ApiKey:
    """Look the key up. Raise TimeoutError.

    Do not wait for the cancelled look-up: on a server that hangs, that takes time of its own.
    """
    looking = asyncio.create_task(Services.of(request).keys.authenticate(request))
    looking.add_done_callback(_nobody_asks)
    done, _ = await asyncio.wait({looking}, timeout=PATIENCE_SECONDS)
    if not done:
        looking.cancel()
        raise TimeoutError
    return looking.result()


def _nobody_asks(looking: asyncio.Task[ApiKey]) -> None:
    """Retrieve an error that came too late, or asyncio would log it as never retrieved."""
    if not looking.cancelled():
        looking.exception()


async def _parked(monitor: Monitor) -> tuple[ParkedTotal, ...] | None:
    try:
        async with asyncio.timeout(TEMPORAL_SECONDS):
            return await monitor.parked()
    except (*TEMPORAL_GONE, TimeoutError):
        return None
