"""Serve the API: `python -m api`."""

import asyncio
import gc
import resource
from typing import Any

import structlog
import uvicorn
import uvloop
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine

import logs
from api.app import create_app
from api.http.connections import KEEP_ALIVE_SECONDS, Bounds, protocol
from api.services import Limits, TwilioAccounts
from api.webhooks.stripe import livemode_of
from environment import WrongSetting, secrets_in, tokens_in
from store.database import migrate, roles, session
from store.database.errors import DATABASE_GONE, Unusable
from wiring import (
    Settings,
    connect_database,
    connect_temporal,
    one_sentence,
    platform_rules,
    set_up_logging,
    warn_of_weak_secrets,
    workflows_url,
)

# Files that a process has open besides its clients' connections.
_OTHER_FILES = 200
log = structlog.get_logger()


async def main() -> None:
    """Serve until told to stop; exit at once if this code knows neither server nor schema."""
    settings = Settings()
    set_up_logging(settings)
    weak = warn_of_weak_secrets(settings)
    engine = connect_database(settings, "api")
    try:
        await _require_usable(engine)
    except DATABASE_GONE as gone:
        log.warning("starting without the database", error=type(gone).__name__)
    except Unusable as unusable:
        logs.end(unusable)
    app = create_app(
        engine,
        await connect_temporal(settings, lazy=True),
        rules=platform_rules(settings),
        stripe_secrets=secrets_in(settings.stripe_webhook_secret),
        vapi_secrets=secrets_in(settings.vapi_webhook_secret),
        twilio=TwilioAccounts(
            settings.public_base_url or "", tokens_in(settings.twilio_auth_tokens)
        ),
        workflows_url=workflows_url(settings),
        stripe_livemode=livemode_of(settings.stripe_api_key.get_secret_value()),
        limits=Limits(
            settings.starts_per_minute,
            settings.wrong_keys_per_minute,
            settings.vapi_message_seconds,
        ),
        warnings=weak,
    )
    bounds = Bounds(
        connections=_that_fit(settings.most_connections),
        head_seconds=settings.head_seconds,
        body_seconds=settings.body_seconds,
        upload_bytes=settings.uploads_mib * 1024 * 1024,
    )
    config = server_config(
        app,
        bounds,
        trusted_proxies=settings.trusted_proxies,
        host=settings.api_host,
        port=settings.api_port,
    )
    _keep_what_stays()
    server = uvicorn.Server(config)
    try:
        await server.serve()
    except SystemExit as end:
        if server.started:
            raise
        where = f"{settings.api_host}:{settings.api_port}"
        raise WrongSetting(f"API_HOST, API_PORT: it cannot listen at {where}") from end
    await engine.dispose()


def server_config(
    app: FastAPI, bounds: Bounds, *, trusted_proxies: str = "", **where: Any
) -> uvicorn.Config:
    """Return how an app is served: no client can stall it, and all log as we do.

    Whose request it is, is said by the peer, or by the proxies that are trusted.
    """
    return uvicorn.Config(
        app,
        http=protocol(bounds),
        ws="none",
        access_log=False,
        log_config=None,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=trusted_proxies,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=10,
        **where,
    )


def _that_fit(connections: int) -> int:
    """Return how many connections this process can have; let it open as many files if it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted:
        log.warning("fewer connections than wanted: too few files may be open", files=most)
    return max(min(connections, most - _OTHER_FILES), 1)


async def _require_usable(engine: AsyncEngine) -> None:
    """Raise Unusable for a server or a schema that this code does not know."""
    async with engine.connect() as connection:
        await migrate.require_current(connection)
        await roles.warn(connection)
        await session.warn(connection)


def _keep_what_stays() -> None:
    """Take modules and schemas out of garbage collections, which would stall requests."""
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    with one_sentence(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
