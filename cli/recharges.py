"""`callwallet recharges`: what an organisation's saved card is charged without a person."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer

from billing.admin_log import caps_changed
from billing.platform_rules import PlatformRules
from billing.recharges.history import (
    LARGEST_CHARGE_CAP_MINOR,
    LARGEST_DAY_CAP_MINOR,
    SMALLEST_CHARGE_MINOR,
    Caps,
    CardCaps,
    caps_of,
)
from billing.text import visible
from cli.output import NOTHING_CHANGED, by_command, print_json, run
from cli.parked import decide, show
from processes import recharges as recharge_process
from settings import Settings, platform_rules
from store.alerts import changes
from store.ledger import wallets
from store.recharges import recharge_settings, recharges

commands = typer.Typer(help="Automatic charges of saved cards.", no_args_is_help=True)
_Minor = Annotated[int | None, typer.Option(help="In pence or cents of the wallet's currency.")]


@dataclass(frozen=True, slots=True)
class CapsShown:
    """The caps that hold for an organisation's card, and what an operator has said last."""

    org_id: str
    caps: Caps
    said: CardCaps | None


@commands.callback()
def _group() -> None:
    """Keep `caps` a command of its own name, though it is the only one."""


@commands.command("caps")
def caps(
    org: Annotated[str, typer.Argument(help="The organisation.")],
    *,
    charge_minor: _Minor = None,
    day_minor: _Minor = None,
    default: Annotated[
        bool, typer.Option("--default", help="Have the platform's caps hold again.")
    ] = False,
    note: Annotated[str, typer.Option(help="Why. It is recorded with your name.")] = "",
    name: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="Who you are, if not who is logged in."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show or set what the card is charged without a person, at once and in a day (UTC)."""
    said = None
    if default or charge_minor is not None or day_minor is not None:
        _require_possible(charge_minor, day_minor, default=default)
        now = datetime.fromtimestamp(time.time(), UTC)
        said = CardCaps(charge_minor, day_minor, decide.who_and_why(name, note), now)
    shown = run(lambda settings: _caps(settings, org, said, name), NOTHING_CHANGED)
    if as_json:
        print_json(shown)
        return
    typer.echo(
        f"{org}: {shown.caps.charge_minor} a charge, {shown.caps.day_minor} a day, in minor units"
        + (f"; {visible(shown.said.who_and_why)}" if shown.said else "")
    )


def _require_possible(charge_minor: int | None, day_minor: int | None, *, default: bool) -> None:
    if default and (charge_minor, day_minor) != (None, None):
        raise typer.BadParameter("give either --default or both caps")
    if default:
        return
    if charge_minor is None or day_minor is None:
        raise typer.BadParameter("give both --charge-minor and --day-minor")
    if not SMALLEST_CHARGE_MINOR <= charge_minor <= LARGEST_CHARGE_CAP_MINOR:
        raise typer.BadParameter(
            f"--charge-minor is from {SMALLEST_CHARGE_MINOR} to {LARGEST_CHARGE_CAP_MINOR}"
        )
    if not charge_minor <= day_minor <= LARGEST_DAY_CAP_MINOR:
        raise typer.BadParameter(f"--day-minor is from --charge-minor to {LARGEST_DAY_CAP_MINOR}")


async def _caps(
    settings: Settings, org_id: str, said: CardCaps | None, name: str | None
) -> CapsShown:
    """Set what was said, if anything was, and have the recharge look again; read what holds."""
    async with show.connected(settings) as (temporal, engine):
        async with engine.begin() as connection:
            wallet = await wallets.wallet_of(connection, org_id)
            if said is not None:
                before = await recharge_settings.set_caps(connection, org_id, said)
                change = caps_changed(by_command(name), org_id, before, said)
                await changes.record(connection, change)
            now = datetime.fromtimestamp(time.time(), UTC)
            history = await recharges.history(connection, wallet, now)
        if said is not None and wallet.recharge_below_minor is not None:
            why = "the caps of the card were changed"
            await recharge_process.look_again(temporal, org_id, why)
        rules: PlatformRules = platform_rules(settings)
        return CapsShown(org_id, caps_of(history, rules), history.set_caps)
