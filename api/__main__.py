"""Serve the API: `python -m api`."""

import asyncio
import gc
import sys

import structlog
import uvicorn
import uvloop

from api.app import create_app
from api.problems import DATABASE_GONE
from api.services import TwilioAccounts
from billing.return_urls import origins_in
from store import engine as store_engine
from store import migrate
from wiring import (
    Settings,
    connect_temporal,
    gate_rules,
    secrets_in,
    set_up_logging,
    tokens_in,
    workflows_url,
)

# Longer than a proxy keeps its connections (60 s, mostly): if the API closed one in the moment in
# which the proxy sends a request on it, that request would be lost.
KEEP_ALIVE_SECONDS = 75
log = structlog.get_logger()


async def main() -> None:
    """Refuse a schema that this code does not know; otherwise serve until told to stop."""
    settings = Settings()
    set_up_logging(settings)
    engine = store_engine.connect(settings.database_url, application_name="callwallet api")
    try:
        async with engine.connect() as connection:
            await migrate.require_current(connection)
    except DATABASE_GONE as gone:
        log.warning("starting without the database", error=type(gone).__name__)
    except migrate.UnknownSchema as unknown:
        sys.exit(f"callwallet: {unknown}")
    app = create_app(
        engine,
        await connect_temporal(settings, lazy=True),
        stripe_secrets=secrets_in(settings.stripe_webhook_secret),
        vapi_secrets=secrets_in(settings.vapi_webhook_secret),
        twilio=TwilioAccounts(
            settings.public_base_url or "", tokens_in(settings.twilio_auth_tokens)
        ),
        return_origins=origins_in(settings.checkout_return_origins),
        own_workflow_rate=settings.own_workflow_rate,
        adjustment_approval_minor=settings.adjustment_approval_minor,
        gate_rules=gate_rules(settings),
        workflows_url=workflows_url(settings),
    )
    config = uvicorn.Config(
        app,
        host=settings.api_host,
        port=settings.api_port,
        http="httptools",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=10,
    )
    _keep_what_stays()
    await uvicorn.Server(config).serve()
    await engine.dispose()


def _keep_what_stays() -> None:
    """Leave modules and schemas out of garbage collections: to look at them all stalls requests."""
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
