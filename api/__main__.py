"""Serve the API: `python -m api`."""

import asyncio
import gc

import structlog
import uvicorn
import uvloop
from sqlalchemy.ext.asyncio import AsyncEngine

import logs
from api.app import create_app
from api.services import TwilioAccounts
from api.webhooks.stripe import livemode_of
from store.database import migrate, roles, session
from store.database.errors import DATABASE_GONE, Unusable
from wiring import (
    Settings,
    connect_database,
    connect_temporal,
    platform_rules,
    secrets_in,
    set_up_logging,
    tokens_in,
    workflows_url,
)

# Longer than proxies keep connections (mostly 60 s). If the API closed a connection while a proxy
# sends a request on it, that request would be lost.
KEEP_ALIVE_SECONDS = 75
log = structlog.get_logger()


async def main() -> None:
    """Serve until told to stop; exit at once if this code knows neither server nor schema."""
    settings = Settings()
    set_up_logging(settings)
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
    )
    config = uvicorn.Config(
        app,
        host=settings.api_host,
        port=settings.api_port,
        http="httptools",
        access_log=False,
        # As all others log.
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=10,
    )
    _keep_what_stays()
    await uvicorn.Server(config).serve()
    await engine.dispose()


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
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
