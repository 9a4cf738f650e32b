"""What the routes work with, made once at start-up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from api.gate import Gate
from api.intake import Intake
from api.metrics import Metrics
from api.monitor import Monitor


@dataclass(frozen=True)
class TwilioAccounts:
    """Where Twilio reaches this API, and the live auth tokens of each account; none: no SMS."""

    public_base_url: str = ""
    tokens: Mapping[str, Sequence[bytes]] = field(default_factory=dict)


@dataclass(frozen=True)
class Services:
    """What one API process has; `started_at` is on the monotonic clock.

    `workflows_url` is where the Temporal UI shows workflows, if that is known.
    """

    engine: AsyncEngine
    temporal: Client
    intake: Intake
    gate: Gate
    metrics: Metrics
    monitor: Monitor
    stripe_secrets: tuple[bytes, ...]
    vapi_secrets: tuple[bytes, ...]
    twilio: TwilioAccounts
    return_origins: frozenset[str]
    adjustment_approval_minor: int
    started_at: float
    workflows_url: str | None = None

    @staticmethod
    def of(request: Request) -> "Services":
        """Find the services of the app that answers this request."""
        services: Services = request.app.state.services
        return services
