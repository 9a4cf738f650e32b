"""The connections and settings that routes use, made once at start-up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from api.gate import Gate
from api.http.rate_limits import RateLimit
from api.intake.intake import Intake
from api.keys import Keys
from api.monitoring.health import Observer
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
class Limits:
    """How often callers may do what costs something, for each API process."""

    starts_per_minute: int = 120
    wrong_keys_per_minute: int = 120
    vapi_message_seconds: int = 86_400
    health_fresh_seconds: float = 1.0


@dataclass(frozen=True)
class Services:
    """The services of one API process.

    `warnings` say what of its settings had better be changed.
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
    keys: Keys
    starts: RateLimit
    vapi_message_seconds: int
    observer: Observer
    warnings: tuple[str, ...]
    workflows_url: str | None = None
    stripe_livemode: bool | None = None

    @staticmethod
    def of(request: Request) -> "Services":
        """Return the services of the app that answers this request."""
        services: Services = request.app.state.services
        return services
