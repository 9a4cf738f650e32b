"""Clients of everything outside, made of the settings; none connects before it is used."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import stripe
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.runtime import LoggingConfig, PrometheusConfig, Runtime, TelemetryConfig
from temporalio.service import RetryConfig

import logs
from activities.alerts.slack import SlackWebhook
from activities.messages.twilio import TwilioApi
from activities.monitoring import metrics
from environment import WrongSetting, tokens_in
from settings import Settings, WorkerSettings
from store.database import engine as store_engine
from workflows.shared.data_converter import DATA_CONVERTER

STRIPE_VERSION = "2026-10-28.endive"
PROVIDER_TIMEOUT_SECONDS = 20.0
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Clients:
    """Connections to everything outside but Temporal."""

    engine: AsyncEngine
    stripe: stripe.StripeClient
    vapi: httpx.AsyncClient
    slack: SlackWebhook | None
    twilio: TwilioApi


@asynccontextmanager
async def open_clients(settings: WorkerSettings, name: str) -> AsyncIterator[Clients]:
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


def stripe_client(settings: WorkerSettings, http: stripe.HTTPClient) -> stripe.StripeClient:
    """Return a client that does not retry by itself: Temporal does, where operators see it."""
    return stripe.StripeClient(
        settings.stripe_api_key.get_secret_value(),
        base_addresses={"api": settings.stripe_api_base},
        http_client=http,
        max_network_retries=0,
        stripe_version=STRIPE_VERSION,
    )


def slack_webhook(settings: WorkerSettings, http: httpx.AsyncClient) -> SlackWebhook | None:
    """Return Slack's webhook, or None if unset. Alerts link to the Temporal UI if that is set."""
    if settings.slack_webhook_url is None:
        return None
    return SlackWebhook(http, settings.slack_webhook_url, workflows_url(settings))


def workflows_url(settings: Settings) -> str | None:
    """Return where the Temporal UI shows workflows, or None if its address is not set."""
    ui, namespace = settings.temporal_ui_url, settings.temporal_namespace
    return f"{ui.rstrip('/')}/namespaces/{namespace}/workflows" if ui else None


def metrics_runtime(settings: WorkerSettings) -> Runtime | None:
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

    Everything else about the connection (TLS, profiles) is Temporal's own environment
    configuration. A lazy client gives up on a call within seconds, because a sender waits for it.
    """
    # Temporal would take an empty key for one, and speak TLS; ours may be in a file besides.
    others = {name: one for name, one in os.environ.items() if name != "TEMPORAL_API_KEY"}
    try:
        config = ClientConfig.load_client_connect_config(override_env_vars=others)
    except (RuntimeError, OSError) as error:
        raise WrongSetting(f"Temporal's own environment configuration: {error}") from error
    if settings.temporal_api_key is not None:
        config["api_key"] = settings.temporal_api_key.get_secret_value()
        config.setdefault("tls", True)
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
