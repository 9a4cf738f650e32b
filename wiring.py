"""Settings and clients: the one file that reads the environment."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, fields
from itertools import chain
from typing import Literal, Self

import httpx
import stripe
import structlog
from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.runtime import LoggingConfig, PrometheusConfig, Runtime, TelemetryConfig
from temporalio.service import RetryConfig

import logs
from activities.alerts.slack import SlackWebhook
from activities.messages.twilio import TwilioApi
from activities.monitoring import metrics
from billing.calls.gate import LONGEST_CAP_SECONDS, SHORTEST_CAP_SECONDS
from billing.payments.return_urls import origins_in
from billing.platform_rules import PlatformRules, UntypedPayments
from environment import (
    SHORTEST_SECRET,
    BaseUrl,
    DatabaseUrl,
    HostAndPort,
    IpAndPort,
    Networks,
    OptionalDatabaseUrl,
    OptionalSlackUrl,
    OptionalUrl,
    Origins,
    ProviderKey,
    WebhookSecret,
    WrongSetting,
    is_on,
    secrets_in,
    tokens_in,
    what_is_wrong,
)
from store.database import engine as store_engine
from store.database.session import Pooler
from workflows.shared.data_converter import DATA_CONVERTER

STRIPE_VERSION = "2026-10-28.endive"
PROVIDER_TIMEOUT_SECONDS = 20.0
_DEFAULT = PlatformRules()
log = structlog.get_logger()


class Settings(BaseSettings):
    """What the environment says.

    Secrets that check webhooks may be several, separated by commas: while one is replaced, both
    are live. What the platform decides is here under the names of `PlatformRules`.
    """

    # An error that showed what it was given would show secrets.
    model_config = SettingsConfigDict(frozen=True, hide_input_in_errors=True)

    database_url: DatabaseUrl
    database_owner_url: OptionalDatabaseUrl = None
    database_pooler: Pooler = Pooler.NONE
    temporal_address: HostAndPort = "localhost:7233"
    temporal_namespace: str = Field(default="billing", min_length=1)
    stripe_api_key: ProviderKey
    stripe_api_base: BaseUrl = "https://api.stripe.com"
    stripe_webhook_secret: WebhookSecret
    vapi_api_key: ProviderKey
    vapi_api_base: BaseUrl = "https://api.vapi.ai"
    vapi_webhook_secret: WebhookSecret
    twilio_auth_tokens: SecretStr = SecretStr("")
    twilio_api_base: BaseUrl = "https://api.twilio.com"
    public_base_url: OptionalUrl = None
    sms_reverse_undelivered: bool = _DEFAULT.sms_reverse_undelivered
    slack_webhook_url: OptionalSlackUrl = None
    temporal_ui_url: OptionalUrl = None
    checkout_return_origins: Origins = ""
    api_host: str = Field(default="127.0.0.1", min_length=1)
    api_port: int = Field(default=8000, ge=0, le=65_535)
    most_connections: int = Field(default=2000, ge=1, le=100_000)
    head_seconds: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    body_seconds: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    uploads_mib: int = Field(default=64, ge=16)
    trusted_proxies: Networks = ""
    starts_per_minute: int = Field(default=120, ge=1)
    wrong_keys_per_minute: int = Field(default=120, ge=1)
    vapi_message_seconds: int = Field(default=86_400, ge=1)
    own_workflow_rate: float = Field(default=_DEFAULT.own_workflow_rate, ge=0, allow_inf_nan=False)
    adjustment_approval_minor: int = Field(default=_DEFAULT.adjustment_approval_minor, ge=0)
    adjustment_day_approval_minor: int = Field(default=_DEFAULT.adjustment_day_approval_minor, ge=0)
    recharge_charge_cap_minor: int = Field(default=_DEFAULT.recharge_charge_cap_minor, gt=0)
    recharge_day_cap_minor: int = Field(default=_DEFAULT.recharge_day_cap_minor, gt=0)
    parked_money_alert_minor: int = Field(default=_DEFAULT.parked_money_alert_minor, gt=0)
    start_balance_minor: int = Field(default=_DEFAULT.start_balance_minor, ge=0)
    longest_call_seconds: int = Field(
        default=_DEFAULT.longest_call_seconds, ge=SHORTEST_CAP_SECONDS, le=LONGEST_CAP_SECONDS
    )
    gate_fails_open: bool = _DEFAULT.gate_fails_open
    vapi_faults_free: bool = False
    untyped_payments: UntypedPayments = _DEFAULT.untyped_payments
    keep_bodies_days: int = Field(default=_DEFAULT.keep_bodies_days, ge=1, le=36_500)
    worker_metrics_address: IpAndPort = ""
    log_level: Literal["debug", "info", "warning"] = "info"
    log_json: bool = False

    @model_validator(mode="after")
    def _has_a_public_url_for_twilio(self) -> Self:
        if tokens_in(self.twilio_auth_tokens) and self.public_base_url is None:
            raise ValueError("PUBLIC_BASE_URL is needed with TWILIO_AUTH_TOKENS: Twilio signs it")
        return self


@dataclass(frozen=True, slots=True)
class Clients:
    """Connections to everything outside but Temporal."""

    engine: AsyncEngine
    stripe: stripe.StripeClient
    vapi: httpx.AsyncClient
    slack: SlackWebhook | None
    twilio: TwilioApi


def weak_secrets(settings: Settings) -> list[str]:
    """Say of each setting that holds a secret which somebody might guess that it does."""
    tokens = tokens_in(settings.twilio_auth_tokens).values()
    held = {
        "STRIPE_API_KEY": secrets_in(settings.stripe_api_key),
        "STRIPE_WEBHOOK_SECRET": secrets_in(settings.stripe_webhook_secret),
        "VAPI_API_KEY": secrets_in(settings.vapi_api_key),
        "VAPI_WEBHOOK_SECRET": secrets_in(settings.vapi_webhook_secret),
        "TWILIO_AUTH_TOKENS": tuple(chain.from_iterable(tokens)),
    }
    return [
        f"{name} holds a secret of fewer than {SHORTEST_SECRET} characters"
        for name, secrets in held.items()
        if any(len(secret) < SHORTEST_SECRET for secret in secrets)
    ]


def warn_of_weak_secrets(settings: Settings) -> list[str]:
    """Log which secrets somebody might guess; return what was logged."""
    weak = weak_secrets(settings)
    for warning in weak:
        log.warning("a secret is weak", setting=warning)
    return weak


@contextmanager
def one_sentence() -> Iterator[None]:
    """End a process in one sentence where a setting is missing or wrong."""
    try:
        yield
    except ValidationError as error:
        if error.title != Settings.__name__:
            raise
        reason = "; ".join(what_is_wrong(error))
    except WrongSetting as wrong:
        reason = str(wrong)
    else:
        return
    logs.set_up("info", as_json=is_on("LOG_JSON"))
    logs.end(reason)


def platform_rules(settings: Settings) -> PlatformRules:
    """Return what the platform decides; each rule has the name of its setting."""
    decided = {rule.name: getattr(settings, rule.name) for rule in fields(PlatformRules)}
    decided["checkout_return_origins"] = origins_in(settings.checkout_return_origins)
    return PlatformRules(**decided)


@asynccontextmanager
async def open_clients(settings: Settings, name: str) -> AsyncIterator[Clients]:
    """Open the clients of the worker; each connects when it is first used."""
    stripe.enable_telemetry = False
    http = stripe.HTTPXClient(timeout=PROVIDER_TIMEOUT_SECONDS)
    engine = connect_database(settings, name)
    async with (
        httpx.AsyncClient(
            base_url=settings.vapi_api_base,
            headers={"Authorization": f"Bearer {settings.vapi_api_key.get_secret_value()}"},
            timeout=PROVIDER_TIMEOUT_SECONDS,
        ) as vapi,
        httpx.AsyncClient(timeout=PROVIDER_TIMEOUT_SECONDS) as slack,
        httpx.AsyncClient(
            base_url=settings.twilio_api_base, timeout=PROVIDER_TIMEOUT_SECONDS
        ) as twilio,
    ):
        yield Clients(
            engine,
            stripe_client(settings, http),
            vapi,
            slack_webhook(settings, slack),
            TwilioApi(twilio, tokens_in(settings.twilio_auth_tokens)),
        )
        await http.close_async()  # type: ignore[no-untyped-call]  # stripe leaves it untyped
        await engine.dispose()


def connect_database(settings: Settings, name: str) -> AsyncEngine:
    """Return an engine; PostgreSQL shows its sessions under the name of who uses it."""
    return store_engine.connect(
        settings.database_url,
        application_name=f"callwallet {name}",
        pooler=settings.database_pooler,
    )


def stripe_client(settings: Settings, http: stripe.HTTPClient) -> stripe.StripeClient:
    """Return a client that does not retry by itself: Temporal does, where operators see it."""
    return stripe.StripeClient(
        settings.stripe_api_key.get_secret_value(),
        base_addresses={"api": settings.stripe_api_base},
        http_client=http,
        max_network_retries=0,
        stripe_version=STRIPE_VERSION,
    )


def slack_webhook(settings: Settings, http: httpx.AsyncClient) -> SlackWebhook | None:
    """Return Slack's webhook, or None if unset. Alerts link to the Temporal UI if that is set."""
    if settings.slack_webhook_url is None:
        return None
    return SlackWebhook(http, settings.slack_webhook_url, workflows_url(settings))


def workflows_url(settings: Settings) -> str | None:
    """Return where the Temporal UI shows workflows, or None if its address is not set."""
    ui, namespace = settings.temporal_ui_url, settings.temporal_namespace
    return f"{ui.rstrip('/')}/namespaces/{namespace}/workflows" if ui else None


def metrics_runtime(settings: Settings) -> Runtime | None:
    """Return the runtime of a process that shows Prometheus metrics: the SDK's, and ours.

    The endpoint asks for no key. Return None if no address is set. Raise WrongSetting for one that
    cannot be had.
    """
    if not settings.worker_metrics_address:
        return None
    exporter = PrometheusConfig(
        bind_address=settings.worker_metrics_address,
        counters_total_suffix=True,
        durations_as_seconds=True,
        unit_suffix=True,
        histogram_bucket_overrides=metrics.BUCKETS,
    )
    logging = logs.of_temporal() if settings.log_json else LoggingConfig.default
    try:
        return Runtime(telemetry=TelemetryConfig(logging=logging, metrics=exporter))
    except (ValueError, RuntimeError) as error:
        raise WrongSetting(f"WORKER_METRICS_ADDRESS: {error}") from error


async def connect_temporal(
    settings: Settings, *, lazy: bool = False, runtime: Runtime | None = None
) -> Client:
    """Connect to Temporal; unless `lazy`, wait for it as long as it takes. Raise WrongSetting.

    Everything else about the connection (TLS, API key, profiles) is Temporal's own environment
    configuration. A lazy client gives up on a call within seconds, because a sender waits for it.
    """
    try:
        config = ClientConfig.load_client_connect_config()
    except (RuntimeError, OSError) as error:
        raise WrongSetting(f"Temporal's own environment configuration: {error}") from error
    config["target_host"] = settings.temporal_address
    config["namespace"] = settings.temporal_namespace
    retries = RetryConfig(max_elapsed_time_millis=1500, max_retries=3) if lazy else None
    while True:
        try:
            return await Client.connect(
                **config,
                data_converter=DATA_CONVERTER,
                lazy=lazy,
                retry_config=retries,
                runtime=runtime,
            )
        except RuntimeError as error:
            log.warning("waiting for Temporal", address=settings.temporal_address, error=str(error))
            await asyncio.sleep(1)


def set_up_logging(settings: Settings) -> None:
    """Set up logging, of libraries and of Temporal's core too: lines for people, or JSON."""
    logs.set_up(settings.log_level, as_json=settings.log_json)
    if settings.log_json:
        runtime = Runtime(telemetry=TelemetryConfig(logging=logs.of_temporal()))
        Runtime.set_default(runtime, error_if_already_set=False)
