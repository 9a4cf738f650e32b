"""`callwallet setup`, `up` and `demo`: the system itself."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated

import structlog
import typer
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from billing.calls.admin_log import free_calls_changed
from billing.calls.ended_reason import FreeEnding
from billing.errors import ChangesThePast, Conflict
from billing.tariffs import examples
from billing.tariffs.channel import Channel
from billing.tariffs.sms_tariff import SmsTariff
from cli.output import by_command, run_with
from processes import namespace
from processes.tariffs import MOST_TOLD, tell_waiting
from settings import SetupSettings, platform_rules, warn_of_secrets
from store.alerts import changes
from store.calls import free_call_rules
from store.database import clock, migrate, roles, session
from store.database.session import Pooler
from store.payments import payments
from store.recharges import recharge_settings
from store.tariffs import Price, TariffTable, call_tariffs, sms_tariffs
from wiring import connect_database, connect_temporal, set_up_logging

log = structlog.get_logger()
State = Annotated[
    Path, typer.Option("--state", help="Where everything is kept between two starts.")
]
Port = Annotated[
    int | None, typer.Option(min=1, max=65535, help="By default a free one, which is remembered.")
]
# What waits for a price that was added, as organisation and workflow id, by the price's id.
Waiting = dict[str, list[tuple[str, str]]]


def setup(
    *,
    example_tariffs: Annotated[
        bool,
        typer.Option("--example-tariffs", help="Add the demo's prices, by which all are charged."),
    ] = False,
) -> None:
    """Migrate the database; register the namespace, search attributes, schedules and the drain."""
    run_with(
        SetupSettings,
        partial(_setup, example_tariffs=example_tariffs),
        "It was not finished, and can be run again.",
    )


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
    ending = FreeEnding.PROVIDER_FAULT
    async with engine.begin() as connection:
        before = await free_call_rules.read(connection)
        await free_call_rules.put(connection, ending, in_force=faults_free)
        kept = await free_call_rules.read(connection)
        by = by_command(command="setup")
        await changes.record(connection, free_calls_changed(by, ending, before, kept))
    for rule in kept:
        until = rule.until and rule.until.isoformat()
        log.info("calls are free", by=rule.ending, since=rule.since.isoformat(), until=until)


async def _setup(settings: SetupSettings, *, example_tariffs: bool) -> None:
    set_up_logging(settings)
    warn_of_secrets(settings)
    engine = await _migrate(settings)
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
    waiting: Waiting = {}
    if example_tariffs:
        async with engine.begin() as connection:
            waiting |= await _add_examples(connection, call_tariffs, examples.CALLS)
            waiting |= await _add_examples(connection, sms_tariffs, examples.MESSAGES)
            waiting |= await _add_examples(connection, sms_tariffs, await _to_begin(connection))
    async with engine.connect() as connection:
        await _say_what_has_no_price(connection, "calls", call_tariffs)
        for channel in (Channel.SMS, Channel.MMS):
            await _say_what_has_no_price(connection, channel, sms_tariffs, channel=channel)
    await engine.dispose()
    temporal = await connect_temporal(settings)
    await namespace.prepare(temporal)
    for tariff_id, workflows in waiting.items():
        await tell_waiting(temporal, tariff_id, workflows)
    # A client that goes away in the same breath can crash the interpreter's exit.
    await asyncio.sleep(0.3)


async def _migrate(settings: SetupSettings) -> AsyncEngine:
    """Migrate as the owner, if there is one beside the service; return the engine for the rest."""
    served, service = connect_database(settings, "setup"), None
    engine = served
    if settings.database_owner_url is not None:
        owner_url = settings.database_owner_url.get_secret_value()
        engine = connect_database(
            settings.model_copy(update={"database_url": owner_url}), "setup as owner"
        )
        service = roles.service_beside(engine.url, served.url)
    await migrate.upgrade(engine, service)
    if settings.database_pooler is Pooler.TRANSACTION:
        await _settle_sessions(served)
    async with served.connect() as connection:
        await roles.warn(connection)
    if served is not engine:
        await served.dispose()
    return engine


async def _add_examples(
    connection: AsyncConnection, table: TariffTable[Price], prices: Iterable[Price]
) -> Waiting:
    """Add the example prices that fit to those that are there; return what waited for them."""
    added = {}
    for price in prices:
        try:
            is_new = await table.add(connection, price)
        except (Conflict, ChangesThePast) as refusal:
            log.warning(
                "an example price was not added", price=table.id_of(price), why=str(refusal)
            )
        else:
            if is_new:
                change = table.added(price, by_command(command="setup"))
                await changes.record(connection, change)
            added[price.wallet_currency, price.channel] = price
    return {
        table.id_of(price): await table.waiting(connection, price, MOST_TOLD)
        for price in added.values()
    }


async def _to_begin(connection: AsyncConnection) -> list[SmsTariff]:
    """Return the example prices that begin now; those that are there, as they have begun."""
    soon = await clock.now(connection) + timedelta(seconds=1)
    begun = await sms_tariffs.begun(connection)
    return [
        replace(price, effective_from=begun.get(price.sms_tariff_id, soon))
        for price in examples.other_channels(soon)
    ]


async def _say_what_has_no_price(
    connection: AsyncConnection, what: str, table: TariffTable[Price], **wanted: str
) -> None:
    """Say for which wallets nobody has set a price by default that has the `wanted` values."""
    if unpriced := await table.currencies_without_default(connection, **wanted):
        log.warning(
            "no price by default: they wait as no_tariff, where there is no other",
            of=what,
            wallets_in=unpriced,
            add_one_by=table.route,
        )


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
