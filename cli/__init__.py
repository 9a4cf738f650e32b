"""The `callwallet` command."""

from typing import Any

import typer
from pydantic import ValidationError

from cli import explain, keys, parked, reconcile, showing, system
from wiring import Settings

_BAD_INPUT = 2


class _Command(typer.Typer):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run; a setting that is missing or wrong is named, with no traceback around it."""
        try:
            return super().__call__(*args, **kwargs)
        except ValidationError as error:
            if error.title != Settings.__name__:
                raise
            showing.complain(_what_is_wrong(error))
            raise SystemExit(_BAD_INPUT) from error


def _what_is_wrong(error: ValidationError) -> str:
    named = [
        f"  {'.'.join(map(str, one['loc'])).upper() or 'settings'}: {one['msg']}"
        for one in error.errors(include_input=False, include_url=False)
    ]
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
app.add_typer(reconcile.commands, name="reconcile")
app.add_typer(parked.commands, name="parked")
app.add_typer(keys.commands, name="keys")
