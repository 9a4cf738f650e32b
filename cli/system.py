"""`callwallet setup`, `up` and `demo`: the system itself."""

import asyncio
from pathlib import Path
from typing import Annotated

import structlog
import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.calls.ended_reason import FreeEnding
from processes import namespace
from store.calls import free_call_rules
from store.database import engine as store_engine
from store.database import migrate
from store.payments import payments
from store.recharges import recharge_settings
from wiring import Settings, connect_temporal, platform_rules, set_up_logging

log = structlog.get_logger()
State = Annotated[
    Path, typer.Option("--state", help="Where everything is kept between two starts.")
]
Port = Annotated[
    int | None, typer.Option(min=1, max=65535, help="By default a free one, which is remembered.")
]


def setup() -> None:
    """Migrate the database; register the namespace, search attributes, schedules and the drain."""
    asyncio.run(_setup(Settings()))


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


async def _keep_rules(engine: AsyncEngine, *, faults_free: bool) -> None:
    """Write down from when on calls are free that Vapi ends by a fault of its own, or no longer."""
    async with engine.begin() as connection:
        await free_call_rules.put(connection, FreeEnding.PROVIDER_FAULT, in_force=faults_free)
        kept = await free_call_rules.read(connection)
    for rule in kept:
        until = rule.until and rule.until.isoformat()
        log.info("calls are free", by=rule.ending, since=rule.since.isoformat(), until=until)


async def _setup(settings: Settings) -> None:
    set_up_logging(settings)
    engine = store_engine.connect(settings.database_url, application_name="callwallet setup")
    await migrate.upgrade(engine)
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
    await _keep_rules(engine, faults_free=settings.vapi_faults_free)
    await engine.dispose()
    await namespace.prepare(await connect_temporal(settings))
    # A client that goes away in the same breath can crash the interpreter's exit.
    await asyncio.sleep(0.3)
