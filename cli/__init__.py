"""The `callwallet` command."""

import typer

from cli import explain, keys, parked, reconcile, system

app = typer.Typer(
    name="callwallet", help=__doc__, no_args_is_help=True, pretty_exceptions_show_locals=False
)
app.command()(system.setup)
app.command()(system.up)
app.command()(system.demo)
app.command()(explain.explain)
app.add_typer(reconcile.commands, name="reconcile")
app.add_typer(parked.commands, name="parked")
app.add_typer(keys.commands, name="keys")
