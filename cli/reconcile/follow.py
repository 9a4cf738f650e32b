"""Start a reconciliation, or join the one that runs, and watch it until it ends or parks."""

import asyncio

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.reconciliation.admin_log import asked_for
from billing.reconciliation.reconciliation import Reconciliation, Report, RunStatus, Tally
from cli.output import ERRORS, by_command
from processes.reconciliations import reconcile
from processes.request import require_patience
from settings import Settings
from store.alerts import changes
from store.database.errors import DATABASE_GONE
from store.organizations import organizations
from store.reconciliation import runs
from wiring import connect_database, connect_temporal

LOOK_SECONDS = 0.3


async def follow(settings: Settings, wanted: Reconciliation) -> Report:
    """Return the report of a run that has ended or is parked.

    Raise NotFound, InvalidWindow, TemporalUnavailable, and what means that the database is gone.
    """
    engine = connect_database(settings, "reconcile")
    try:
        if wanted.org_id is not None:
            async with engine.connect() as connection:
                await organizations.read(connection, wanted.org_id)
        run = await reconcile(await connect_temporal(settings, lazy=True), wanted)
        async with engine.begin() as connection:
            await changes.record(connection, asked_for(by_command(), wanted, run))
        return await _watch(engine, run.run_id)
    finally:
        await engine.dispose()
        # A client that goes away in the same breath can crash the interpreter's exit.
        await asyncio.sleep(LOOK_SECONDS)


async def _watch(engine: AsyncEngine, run_id: str) -> Report:
    with _bar() as bar:
        task = bar.add_task("Started", total=1, counts="")
        while True:
            if report := await _look(engine, run_id):
                whole = report.total
                bar.update(
                    task,
                    description=report.run.status.capitalize(),
                    completed=float(report.progress),
                    counts=f"{whole.checked:,} checked, {_found(whole):,} found,"
                    f" {whole.recovered:,} recovered",
                )
                if report.run.status is not RunStatus.RUNNING:
                    return report
            await asyncio.sleep(LOOK_SECONDS)


async def _look(engine: AsyncEngine, run_id: str) -> Report | None:
    """Read how it stands; a database that is away is one that the run waits for, too."""
    try:
        async with engine.connect() as connection:
            return await runs.report(connection, run_id)
    except DATABASE_GONE as gone:
        require_patience(gone)
        return None


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[counts]}"),
        TimeElapsedColumn(),
        console=ERRORS,
    )


def _found(whole: Tally) -> int:
    return whole.missing + whole.unbilled + whole.drifted + whole.orphaned
