"""What the routes work with, made once at start-up."""

from dataclasses import dataclass

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from api.gate import Gate
from api.intake import Intake
from api.metrics import Metrics


@dataclass(frozen=True)
class Services:
    """What one API process has; `started_at` is on the monotonic clock."""

    engine: AsyncEngine
    temporal: Client
    intake: Intake
    gate: Gate
    metrics: Metrics
    stripe_secrets: tuple[bytes, ...]
    vapi_secrets: tuple[bytes, ...]
    return_origins: frozenset[str]
    adjustment_approval_minor: int
    started_at: float

    @staticmethod
    def of(request: Request) -> "Services":
        """Find the services of the app that answers this request."""
        services: Services = request.app.state.services
        return services
