"""`callwallet reconcile`: compare with a provider by hand, and draw how well webhooks arrive."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from billing.inbox.webhook_event import Source
from billing.reconciliation import reliability_chart
from billing.reconciliation.reconciliation import Reconciliation, RunStatus
from billing.reconciliation.reliability import Day
from cli.output import FAILED, NOTHING_CHANGED, complain, print_json, run
from cli.reconcile.follow import follow
from cli.reconcile.show import show, what_to_do
from cli.times import moment
from settings import Settings
from store.organizations import organizations
from store.reconciliation import reliability
from wiring import connect_database

commands = typer.Typer(
    help="Compare a provider's books with ours, and put right what differs.", no_args_is_help=True
)


def _reconcilable(source: Source) -> Source:
    if source is Source.TWILIO:
        raise typer.BadParameter("messages are not reconciled: each process asks for its own")
    return source


From = Annotated[
    datetime | None,
    typer.Option(
        "--from",
        parser=moment,
        metavar="TIME",
        help="A date or an ISO time, UTC unless it says otherwise. Without it: the last success,"
        " or 48 hours before the end (14 days for Stripe) if that is earlier.",
    ),
]
To = Annotated[
    datetime | None,
    typer.Option(
        "--to",
        parser=moment,
        metavar="TIME",
        help="Up to here. Without it: ten minutes before now.",
    ),
]
Org = Annotated[str | None, typer.Option(help="This organisation only.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Report, and change nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]


@commands.command()
def vapi(
    since: From = None,
    until: To = None,
    org: Org = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Compare Vapi's ended calls with the ledger, and have what it lacks billed.

    The same command joins a run that is under way.
    """
    _reconcile(Reconciliation(Source.VAPI, since, until, org, dry_run), as_json=as_json)


@commands.command()
def stripe(
    since: From = None,
    until: To = None,
    org: Org = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Compare Stripe's payments, refunds and disputes with the ledger, and have it agree.

    The same command joins a run that is under way.
    """
    _reconcile(Reconciliation(Source.STRIPE, since, until, org, dry_run), as_json=as_json)


@commands.command()
def chart(
    source: Annotated[Source, typer.Argument(callback=_reconcilable)],
    days: Annotated[int, typer.Option(min=1, max=92, help="How many, today included.")] = 30,
    org: Org = None,
    out: Annotated[Path, typer.Option(dir_okay=False, help="The file to write.")] = Path(
        "reliability.svg"
    ),
) -> None:
    """Draw reliability by day as an SVG, as reconciliations found it."""

    async def ask(settings: Settings) -> list[Day]:
        found = await _last_days(settings, source, org, days)
        out.write_text(reliability_chart.draw(found, source, org))
        return found

    found = run(ask, NOTHING_CHANGED)
    typer.echo(f"{out}: {len(found)} of the last {days} days")


def _reconcile(wanted: Reconciliation, *, as_json: bool) -> None:
    """Run it to its end, or until it is parked; only a success is the status 0."""
    report = run(
        lambda settings: follow(settings, wanted),
        "The run goes on without you; the same command joins it again.",
    )
    if as_json:
        print_json(report)
    else:
        show(report, Settings())
    if report.run.status is not RunStatus.SUCCEEDED:
        complain(what_to_do(report.run))
        raise typer.Exit(FAILED)


async def _last_days(
    settings: Settings, source: Source, org_id: str | None, days: int
) -> list[Day]:
    engine = connect_database(settings, "chart")
    async with engine.connect() as connection:
        if org_id is not None:
            await organizations.read(connection, org_id)
        found = await reliability.last_days(connection, source, org_id, days)
    await engine.dispose()
    return found
