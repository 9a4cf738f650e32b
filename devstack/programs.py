"""Describe our own processes: how each is started, with which settings, and when it is ready."""

import asyncio
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import httpx

from devstack.ports import HOST, Ports
from devstack.process import Program
from settings import ApiSettings, Settings, SetupSettings, WorkerSettings, kinds_of_settings

NAMESPACE = "billing"
SETUP = ("setup", "--example-tariffs")
STAND_INS = ("stripe", "vapi", "slack", "twilio")


def base_url(ports: Ports, name: str) -> str:
    """Return the URL of one HTTP server of the stack."""
    return f"http://{HOST}:{ports[name]}"


def provider_settings(ports: Ports) -> dict[str, str]:
    """Return the settings by which API and worker find the stand-in providers."""
    return {
        "STRIPE_API_BASE": base_url(ports, "stripe"),
        "STRIPE_MODE": "test",
        "CHECKOUT_RETURN_ORIGINS": f"{base_url(ports, 'api')},http://localhost:3000",
        "VAPI_API_BASE": base_url(ports, "vapi"),
        "TWILIO_API_BASE": base_url(ports, "twilio"),
        "PUBLIC_BASE_URL": base_url(ports, "api"),
        "SLACK_SINK_URL": base_url(ports, "slack"),
        "SLACK_WEBHOOK_URL": base_url(ports, "slack") + "/services/T0/B0/callwallet",
    }


def told(settings: type[Settings], everything: Mapping[str, str]) -> dict[str, str]:
    """Return these variables without the settings that are for other processes alone.

    The API is not told Stripe's key, of which it could read the mode: the mode is a setting.
    """
    known = {name for one in kinds_of_settings() for name in one.model_fields}
    others = known - settings.model_fields.keys()
    if settings is ApiSettings:
        others.add("stripe_api_key")
    return {name: value for name, value in everything.items() if name.lower() not in others}


def providers(state: Path, ports: Ports, keys: Mapping[str, str]) -> Program:
    """Return the stand-ins of Stripe, Vapi, Slack and Twilio. They send webhooks to our API."""
    api = base_url(ports, "api")
    numbers = {name: ports[name] for name in STAND_INS}
    return Program(
        "providers",
        (
            *python("devstack.providers", "--state", str(state / "providers.db")),
            *(part for name, port in numbers.items() for part in (f"--{name}-port", str(port))),
            *("--stripe-webhook-url", f"{api}/webhooks/stripe"),
            *("--vapi-webhook-url", f"{api}/webhooks/vapi"),
            *("--twilio-webhook-url", f"{api}/webhooks/twilio/sms-status"),
        ),
        log(state, "providers"),
        env=keys,
        ports=tuple(numbers.values()),
        stop_seconds=2.0,
    )


def api(state: Path, port: int, env: Mapping[str, str]) -> Program:
    """Return the HTTP API, with what it is told of these settings."""
    env, command = told(ApiSettings, env), python("api")
    return Program("api", command, log(state, "api"), env, ports=(port,), stop_seconds=3.0)


def worker(state: Path, env: Mapping[str, str], metrics_port: int | None = None) -> Program:
    """Return the worker. Activities that its end cuts off are tried again after the next start."""
    env = told(WorkerSettings, env)
    if metrics_port is not None:
        env = {**env, "WORKER_METRICS_ADDRESS": f"{HOST}:{metrics_port}"}
    ports = () if metrics_port is None else (metrics_port,)
    return Program("worker", python("worker"), log(state, "worker"), env, ports, stop_seconds=4.0)


def command(state: Path, env: Mapping[str, str], *arguments: str) -> Program:
    """Return one run of the `callwallet` command."""
    kind = SetupSettings if arguments[:1] == SETUP[:1] else Settings
    return Program("callwallet", python("cli", *arguments), log(state, "setup"), told(kind, env))


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """Return the command line of a module, run by the interpreter that runs us."""
    return (sys.executable, "-m", module, *arguments)


def log(state: Path, name: str) -> Path:
    """Return the log file of one process."""
    return state / "logs" / f"{name}.log"


async def all_listen(ports: Iterable[int]) -> bool:
    """Return whether every port accepts connections."""
    for port in ports:
        try:
            _, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
    return True


async def health(http: httpx.AsyncClient, api_url: str) -> dict[str, str] | None:
    """Read the status of each service from `/health`.

    Return None while the API does not answer, and an empty dict if it answers with an error.
    """
    try:
        answer = await http.get(f"{api_url}/health")
    except httpx.TransportError:
        return None
    if answer.headers.get("content-type") != "application/json":
        return {}
    return {name: str(status) for name, status in answer.json()["services"].items()}
