"""`callwallet setup`, `up` and `demo`: the system itself."""

import asyncio
from pathlib import Path
from typing import Annotated

import structlog
import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.output import run
from processes import namespace
from store.database import migrate, session
from store.database.session import Pooler
from store.payments import payments
from store.recharges import recharge_settings
from wiring import (
    Settings,
    connect_database,
    connect_temporal,
    platform_rules,
    set_up_logging,
)

log = structlog.get_logger()
State = Annotated[
    Path, typer.Option("--state", help="Where everything is kept between two starts.")
]
Port = Annotated[
    int | None, typer.Option(min=1, max=65535, help="By default a free one, which is remembered.")
]


def setup() -> None:
    """Migrate the database; register the namespace, search attributes, schedules and the drain."""
    run(_setup, "It was not finished, and can be run again.")


# The offline world is imported where it is asked for: a service is installed without it.


def up(  # noqa: PLR0917  (options, each with its name)
    state: State = Path(".callwallet"),
    api_port: Port = None,
    postgres_port: Port = None,
    temporal_port: Port = None,
    temporal_ui_port: Port = None,
    stripe_port: Port = None,
    vapi_port: Port = None,
    slack_port: Port = None,
    twilio_port: Port = None,
) -> None:
    """Start the whole system on this machine, with stand-in providers; stay until Ctrl-C."""
    from devstack import up as devstack_up  # noqa: PLC0415

    ports = {
        "api": api_port,
        "postgres": postgres_port,
        "temporal": temporal_port,
        "temporal_ui": temporal_ui_port,
        "stripe": stripe_port,
        "vapi": vapi_port,
        "slack": slack_port,
        "twilio": twilio_port,
    }
    fixed = {name: port for name, port in ports.items() if port is not None}
    raise typer.Exit(asyncio.run(devstack_up.up(state, fixed)))


def demo(
    state: State = Path(".callwallet/demo"),
    stay: Annotated[bool, typer.Option("--stay", help="Keep it running afterwards.")] = False,
) -> None:
    """Start the whole system, send real signed traffic through it, and check every figure."""
    from devstack.demo import run  # noqa: PLC0415

    raise typer.Exit(asyncio.run(run.demo(state, stay=stay)))


async def _setup(settings: Settings) -> None:
    set_up_logging(settings)
    engine = connect_database(settings, "setup")
    await migrate.upgrade(engine)
    if settings.database_pooler is Pooler.TRANSACTION:
        await _settle_sessions(engine)
    async with engine.connect() as connection:
        ours = await payments.untyped_are_ours(connection, settings.untyped_payments)
    log.info(
        "payments without a type that name an organisation",
        are="credited" if ours else "ignored",
        by=f"UNTYPED_PAYMENTS={settings.untyped_payments}",
    )
    async with engine.connect() as connection:
        keeping = await recharge_settings.keeping_more(connection, platform_rules(settings))
    for org_id, caps in keeping.items():
        log.info(
            "a card keeps caps above those by default",
            org_id=org_id,
            charge_minor=caps.charge_minor,
            day_minor=caps.day_minor,
        )
    await engine.dispose()
    await namespace.prepare(await connect_temporal(settings))
    # A client that goes away in the same breath can crash the interpreter's exit.
    await asyncio.sleep(0.3)


async def _settle_sessions(engine: AsyncEngine) -> None:
    """Give the role the settings that a session behind a pooler cannot begin with."""
    async with engine.begin() as connection:
        role = await session.put_on_role(connection)
    log.info(
        "the settings of sessions are on the database role",
        role=role,
        settings=dict(session.SETTINGS),
        next="connections that the pooler holds keep their own: in PgBouncer's console, RECONNECT",
    )
