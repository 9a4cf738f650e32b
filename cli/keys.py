"""`callwallet keys`: keys to the API, for whoever has none yet."""

from typing import Annotated

import typer

from billing.admin_log import key_made
from billing.alerts.admin_log import operator_key_made
from cli.output import by_command, require_plain, run
from settings import Settings
from store.alerts import changes
from store.organizations import api_keys, four_eyes
from wiring import connect_database

commands = typer.Typer(help="Keys to the API.", no_args_is_help=True)


@commands.command("create")
def create(
    label: Annotated[str, typer.Option(help="What the key is for.")],
    operator: Annotated[bool, typer.Option("--operator", help="A key that may do all.")] = False,
    org: Annotated[str | None, typer.Option(help="A key of this organisation.")] = None,
) -> None:
    """Make a key and print it: this once, it is kept nowhere."""
    if operator == (org is not None):
        raise typer.BadParameter("give either --operator or --org")
    require_plain(label)
    typer.echo(run(lambda settings: _create(settings, label, org), "No key was made."))


async def _create(settings: Settings, label: str, org_id: str | None) -> str:
    engine = connect_database(settings, "keys")
    async with engine.begin() as connection:
        is_first = org_id is None and not await four_eyes.has_operator(connection)
        key, secret = await api_keys.issue(connection, label, org_id)
        is_told = org_id is None and not is_first
        await changes.record(
            connection,
            key_made(key, by_command()),
            (lambda _: operator_key_made(key)) if is_told else None,
        )
    await engine.dispose()
    return secret
