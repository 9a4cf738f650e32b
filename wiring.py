"""Settings and clients: the one file that reads the environment."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from typing import Literal, Self
from urllib.parse import urlsplit

import httpx
import stripe
import structlog
from pydantic import Field, SecretStr, field_validator, model_validator
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

    database_url: str
    database_owner_url: SecretStr | None = None
    database_pooler: Pooler = Pooler.NONE
    temporal_address: str = "localhost:7233"
    temporal_namespace: str = "billing"
    stripe_api_key: SecretStr
    stripe_api_base: str = "https://api.stripe.com"
    stripe_webhook_secret: SecretStr
    vapi_api_key: SecretStr
    vapi_api_base: str = "https://api.vapi.ai"
    vapi_webhook_secret: SecretStr
    twilio_auth_tokens: SecretStr = SecretStr("")
    twilio_api_base: str = "https://api.twilio.com"
    public_base_url: str | None = None
    sms_reverse_undelivered: bool = _DEFAULT.sms_reverse_undelivered
    slack_webhook_url: SecretStr | None = None
    temporal_ui_url: str | None = None
    checkout_return_origins: str = ""
    api_host: str = "127.0.0.1"
    api_port: int = 8000
    own_workflow_rate: float = _DEFAULT.own_workflow_rate
    adjustment_approval_minor: int = Field(default=_DEFAULT.adjustment_approval_minor, ge=0)
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
    worker_metrics_address: str = ""
    log_level: Literal["debug", "info", "warning"] = "info"
    log_json: bool = False

    @field_validator("stripe_webhook_secret", "vapi_webhook_secret")
    @classmethod
    def _not_empty(cls, value: SecretStr) -> SecretStr:
        if not secrets_in(value):
            raise ValueError("must hold a secret: without one every webhook would be refused")
        return value

    @field_validator(
        "database_owner_url",
        "slack_webhook_url",
        "temporal_ui_url",
        "public_base_url",
        mode="before",
    )
    @classmethod
    def _empty_is_none(cls, value: str | None) -> str | None:
        return value or None

    @field_validator("public_base_url")
    @classmethod
    def _is_a_base(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "https://unset")
        is_usable = parts.scheme in {"https", "http"} and parts.hostname and parts.port != 0
        if not is_usable or parts.query or parts.fragment:
            raise ValueError("must be a URL such as https://billing.example.com")
        return value

    @model_validator(mode="after")
    def _has_a_public_url_for_twilio(self) -> Self:
        if tokens_in(self.twilio_auth_tokens) and self.public_base_url is None:
            raise ValueError("PUBLIC_BASE_URL is needed with TWILIO_AUTH_TOKENS: Twilio signs it")
        return self

    @field_validator("checkout_return_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        origins_in(value)
        return value

    @field_validator("worker_metrics_address")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if value and not (_is_ip(host) and port.isdecimal() and int(port)):
            raise ValueError("must be an IP address and a port, such as 127.0.0.1:9464")
        return value

    @field_validator("slack_webhook_url")
    @classmethod
    def _is_a_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not value.get_secret_value().startswith(("https://", "http://")):
            raise ValueError("must be the URL of an incoming webhook")
        return value


@dataclass(frozen=True, slots=True)
class Clients:
    """Connections to everything outside but Temporal."""

    engine: AsyncEngine
    stripe: stripe.StripeClient
    vapi: httpx.AsyncClient
    slack: SlackWebhook | None
    twilio: TwilioApi


def _is_ip(host: str) -> bool:
    try:
        return bool(ipaddress.ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError:
        return False


def secrets_in(value: SecretStr) -> tuple[bytes, ...]:
    """Return the secrets of a setting that may hold several, separated by commas."""
    return tuple(one.strip().encode() for one in value.get_secret_value().split(",") if one.strip())


def tokens_in(value: SecretStr) -> dict[str, tuple[bytes, ...]]:
    """Read Twilio's auth tokens by account, from `AC…:token,AC…:token`.

    An account has several while its token is replaced. Raise ValueError, which shows no token.
    """
    tokens: dict[str, tuple[bytes, ...]] = {}
    for pair in secrets_in(value):
        account_sid, colon, token = pair.decode().partition(":")
        if not (account_sid and colon and token):
            raise ValueError("TWILIO_AUTH_TOKENS must be pairs of an account and its token")
        tokens[account_sid] = (*tokens.get(account_sid, ()), token.encode())
    return tokens


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

    The endpoint asks for no key. Return None if no address is set. Raise ValueError if the address
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
    return Runtime(telemetry=TelemetryConfig(logging=logging, metrics=exporter))


async def connect_temporal(
    settings: Settings, *, lazy: bool = False, runtime: Runtime | None = None
) -> Client:
    """Connect to Temporal; unless `lazy`, wait for it as long as it takes.

    Everything else about the connection (TLS, API key, profiles) is Temporal's own environment
    configuration. A lazy client gives up on a call within seconds, because a sender waits for it.
    """
    config = ClientConfig.load_client_connect_config()
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
