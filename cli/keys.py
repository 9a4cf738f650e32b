"""`callwallet keys`: keys to the API, for whoever has none yet."""

from typing import Annotated

import typer

from cli.output import require_plain, run
from settings import Settings
from store.organizations import api_keys
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
        _, secret = await api_keys.issue(connection, label, org_id)
    await engine.dispose()
    return secret
