"""The `callwallet` command."""

from typing import Any

import typer
from pydantic import ValidationError

from cli import admin_log, explain, keys, recharges, system
from cli.output import BAD_INPUT, complain
from cli.parked import commands as parked
from cli.reconcile import commands as reconcile
from environment import what_is_wrong
from settings import is_about_settings


class _Command(typer.Typer):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run; a setting that is missing or wrong is named, with no traceback around it."""
        try:
            return super().__call__(*args, **kwargs)
        except ValidationError as error:
            if not is_about_settings(error):
                raise
            complain(_told(error))
            raise SystemExit(BAD_INPUT) from error


def _told(error: ValidationError) -> str:
    named = [f"  {one}" for one in what_is_wrong(error)]
    told = "The environment does not say what is needed, or says something that cannot be:"
    hint = "For the stack of `callwallet up`: set -a; . .callwallet/env; set +a"
    return "\n".join((told, *named, hint))


app = _Command(
    name="callwallet", help=__doc__, no_args_is_help=True, pretty_exceptions_show_locals=False
)
app.command()(system.setup)
app.command()(system.up)
app.command()(system.demo)
app.command()(explain.explain)
app.command()(admin_log.admin_log)
app.add_typer(reconcile.commands, name="reconcile")
app.add_typer(parked.commands, name="parked")
app.add_typer(recharges.commands, name="recharges")
app.add_typer(keys.commands, name="keys")
