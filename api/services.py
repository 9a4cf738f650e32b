"""The connections and settings that routes use, made once at start-up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from api.gate import Gate
from api.intake.intake import Intake
from api.monitoring.metrics import Metrics
from api.monitoring.monitor import Monitor
from billing.platform_rules import PlatformRules


@dataclass(frozen=True)
class TwilioAccounts:
    """Where Twilio reaches this API, and the live auth tokens of each account.

    Without tokens there is no SMS.
    """

    public_base_url: str = ""
    tokens: Mapping[str, Sequence[bytes]] = field(default_factory=dict)


@dataclass(frozen=True)
class Services:
    """The services of one API process. `started_at` is on the monotonic clock.

    `workflows_url` is where the Temporal UI shows workflows, or None if that is not set.
    `stripe_livemode` is whether Stripe's API key is of live mode, or None if it does not say.
    """

    engine: AsyncEngine
    temporal: Client
    rules: PlatformRules
    intake: Intake
    gate: Gate
    metrics: Metrics
    monitor: Monitor
    stripe_secrets: tuple[bytes, ...]
    vapi_secrets: tuple[bytes, ...]
    twilio: TwilioAccounts
    started_at: float
    workflows_url: str | None = None
    stripe_livemode: bool | None = None

    @staticmethod
    def of(request: Request) -> "Services":
        """Return the services of the app that answers this request."""
        services: Services = request.app.state.services
        return services
