"""What a person sees of a reconciliation: a table, what it comes to, and where to look."""

import shlex
from collections.abc import Iterable
from urllib.parse import quote

from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from billing.inbox.webhook_event import Source
from billing.ledger.money import Money
from billing.reconciliation.reconciliation import Impact, Report, Run, RunStatus, Tally
from billing.reconciliation.reliability import is_low
from cli.output import Screen
from settings import Settings
from wiring import workflows_url

# A figure that is cut is worse than a line that wraps.
_WIDEST_TABLE = 200
_NOUNS = {Source.VAPI: "calls", Source.STRIPE: "payments"}
_COUNTS = (
    "checked", "missing", "unbilled", "drifted", "orphaned", "recovered", "quarantined", "waiting",
)  # fmt: skip


def show(report: Report, settings: Settings) -> None:
    """Print a report."""
    console, run = Screen(width=_WIDEST_TABLE, highlight=False), report.run
    console.print(table(report))
    console.print(impact(report.total, report.impact, _NOUNS[run.source]))
    state = "It took" if run.finished_at else "So far it has taken"
    console.print(f"{state} {report.duration_seconds:.1f} s.")
    console.print(_where(run, settings), soft_wrap=True)


def table(report: Report) -> Table:
    """Lay out what was found, an organisation a row, and the total."""
    run = report.run
    window = f"{run.window.since:%Y-%m-%d %H:%M} to {run.window.until:%Y-%m-%d %H:%M} UTC"
    of_whom = run.org_id or "all organisations"
    title = f"{run.source.capitalize()}, {of_whom}, {window}{', dry run' * run.dry_run}"
    drawn = Table(
        title=escape(title), title_justify="left", box=box.SIMPLE_HEAD, collapse_padding=True
    )
    drawn.add_column("organisation", no_wrap=True)
    for heading in (*_COUNTS, "reliability", "money\nrecovered"):
        drawn.add_column(heading, no_wrap=True, justify="right")
    for one in report.organizations:
        drawn.add_row(*_row(one.org_id or "(nobody's yet)", one))
    drawn.add_section()
    drawn.add_row(*_row("total", report.total))
    return drawn


def impact(whole: Tally, over: Impact, noun: str) -> str:
    """Return what lost webhooks would cost without reconciliation."""
    if not whole.missing:
        return f"No webhook of {whole.checked:,} {noun} was missed."
    return (
        f"At this rate {over.missed_a_month:,} {noun} a month would be missed:"
        f" {_money(over.money_a_month)} a month, {_money(over.money_a_year)} a year."
    )


def what_to_do(run: Run) -> str:
    """Return why a run did not succeed, and what a person can do."""
    if run.status is RunStatus.DISCARDED:
        return f"The run was given up. {run.problem}"
    return (
        f"The run is parked. {run.problem}\n"
        "Mend the cause and have it try again; the same command then shows how it goes on:\n"
        f"  temporal workflow signal --workflow-id {shlex.quote(run.workflow_id)} --name reprocess"
        " --input '\"your name: why\"'"
    )


def _row(name: str, tally: Tally) -> list[Text]:
    is_bad = is_low(tally.checked, tally.missing)
    return [
        Text(name),
        *(Text(f"{getattr(tally, count):,}") for count in _COUNTS),
        Text(f"{tally.reliability_percent} %", "bold red" if is_bad else ""),
        Text(_money(tally.recovered_amounts, "\n")),
    ]


def _money(amounts: Iterable[Money], joined: str = " and ") -> str:
    return joined.join(map(str, amounts)) or "0"


def _where(run: Run, settings: Settings) -> str:
    """Link into the Temporal UI, if it has an address."""
    ui = workflows_url(settings)
    if ui is None:
        return f"Run {run.run_id}, workflow {escape(run.workflow_id)}"
    return f"{ui}/{quote(run.workflow_id, safe='')}"
