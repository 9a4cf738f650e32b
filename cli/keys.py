"""`callwallet keys`: keys to the API, for whoever has none yet, or none that may make any."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from billing.admin_log import key_made, key_rotated
from billing.alerts.admin_log import operator_key_made
from billing.organizations import LONGEST_OVERLAP, OVERLAP, ApiKey, Rotation, Scope, fits, widest
from cli.output import ERRORS, NOTHING_CHANGED, Screen, by_command, print_json, require_plain, run
from cli.times import age, moment
from settings import Settings
from store.alerts import changes
from store.organizations import api_keys, four_eyes, organizations
from wiring import connect_database

commands = typer.Typer(help="Keys to the API.", no_args_is_help=True)
_Expires = Annotated[
    datetime | None,
    typer.Option(
        parser=moment,
        metavar="TIME",
        help="From when on it opens nothing: a date or an ISO time, UTC unless it says otherwise.",
    ),
]
_MOST_AT_ONCE = 500
_WIDEST_TABLE = 200


@commands.command("create")
def create(
    *,
    label: Annotated[str, typer.Option(help="What the key is for.")],
    operator: Annotated[bool, typer.Option("--operator", help="A key of an operator.")] = False,
    org: Annotated[str | None, typer.Option(help="A key of this organisation.")] = None,
    scope: Annotated[
        Scope | None,
        typer.Option(
            help="What it may do: an operator's key `operator` (all), `support` (read, and decide"
            " about parked work), `read` or `metrics`; an organisation's `full` or `read`. Without"
            " it: all."
        ),
    ] = None,
    expires: _Expires = None,
) -> None:
    """Make a key and print it: this once, it is kept nowhere."""
    if operator == (org is not None):
        raise typer.BadParameter("give either --operator or --org")
    if not fits(scope or widest(org), org):
        whose = "an operator's" if operator else "an organisation's"
        raise typer.BadParameter(f"--scope {scope} is not one of {whose} key")
    require_plain(label)
    typer.echo(
        run(lambda settings: _create(settings, label, org, scope, expires), "No key was made.")
    )


@commands.command("list")
def list_keys(
    org: Annotated[str | None, typer.Option(help="Of this organisation only.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say which keys there are, what they may do, and until when; revoked ones too."""
    found = run(lambda settings: _list(settings, org), "Nothing was read.")
    if as_json:
        print_json(found)
    else:
        _show(found)


@commands.command("rotate")
def rotate(
    key_id: Annotated[str, typer.Argument(help="The key's id, as `callwallet keys list` says it.")],
    overlap: Annotated[
        timedelta | None,
        typer.Option(
            parser=age,
            metavar="AGE",
            help=f"How long the old one goes on: 0s, 2h, {LONGEST_OVERLAP.days}d at most. Without"
            f" it: {OVERLAP.days}d.",
        ),
    ] = None,
    expires: _Expires = None,
) -> None:
    """Make a key in the place of another and print it: this once, it is kept nowhere."""
    lasts = OVERLAP if overlap is None else overlap
    if lasts > LONGEST_OVERLAP:
        raise typer.BadParameter(f"--overlap is {LONGEST_OVERLAP.days}d at most")
    rotation = Rotation(secrets.token_hex(8), lasts, expires)
    secret, old = run(lambda settings: _rotate(settings, key_id, rotation), NOTHING_CHANGED)
    typer.echo(secret)
    ERRORS.print(f"{key_id} goes on until {_time(old.expires_at)}.", highlight=False)


async def _create(
    settings: Settings,
    label: str,
    org_id: str | None,
    scope: Scope | None,
    expires_at: datetime | None,
) -> str:
    engine = connect_database(settings, "keys")
    async with engine.begin() as connection:
        if org_id is not None:
            await organizations.read(connection, org_id)
        is_first = not await four_eyes.has_operator(connection)
        key, secret = await api_keys.issue(connection, label, org_id, None, scope, expires_at)
        is_told = key.scope is Scope.OPERATOR and not is_first
        await changes.record(
            connection,
            key_made(key, by_command()),
            (lambda _: operator_key_made(key)) if is_told else None,
        )
    await engine.dispose()
    return secret


async def _rotate(settings: Settings, key_id: str, rotation: Rotation) -> tuple[str | None, ApiKey]:
    engine = connect_database(settings, "keys")
    async with engine.begin() as connection:
        key, secret = await api_keys.rotate(connection, key_id, rotation)
        is_told = key.scope is Scope.OPERATOR
        await changes.record(
            connection,
            key_rotated(key, by_command()),
            (lambda _: operator_key_made(key)) if is_told else None,
        )
        old = await api_keys.read(connection, key_id)
    await engine.dispose()
    return secret, old


async def _list(settings: Settings, org_id: str | None) -> list[ApiKey]:
    engine = connect_database(settings, "keys")
    found: list[ApiKey] = []
    async with engine.connect() as connection:
        while part := await api_keys.page(
            connection, found[-1].key_id if found else None, _MOST_AT_ONCE, org_id
        ):
            found += part
    await engine.dispose()
    return found


def _show(found: list[ApiKey]) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("key", "scope", "organisation", "made", "by", "last used", "good until"):
        table.add_column(heading, no_wrap=True)
    table.add_column("label", overflow="fold")
    for key in found:
        made_by = key.made_by or (f"in place of {key.replaces}" if key.replaces else "-")
        table.add_row(
            *(key.key_id, key.scope, key.org_id or "-", _time(key.created_at), made_by),
            *(_time(key.last_used_at), _end(key), key.label),
        )
    Screen(width=_WIDEST_TABLE, highlight=False, markup=False).print(table)


def _end(key: ApiKey) -> str:
    return f"revoked {_time(key.revoked_at)}" if key.revoked_at else _time(key.expires_at)


def _time(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if at else "-"
