"""The steps of a reconciliation in PostgreSQL: open a run, review what came of it, close it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from activities.temporal.isolation import apart, each_apart
from billing.alerts.alert import Crossing
from billing.alerts.reconciliation import crossings, failed, notes, overdue
from billing.inbox.webhook_event import Source
from billing.reconciliation.card_comparison import ABOUT_A_CARD
from billing.reconciliation.reconciliation import (
    LOOK_BACK,
    Finding,
    Progress,
    Reconciliation,
    Report,
    Run,
    RunStatus,
    window_of,
)
from store.alerts import alerts
from store.reconciliation import findings, runs

# How many findings are put right at a time. As many workflows are started, and then waited for.
PORTION = 100


@dataclass(frozen=True, slots=True)
class RunOpening:
    """What is needed to begin a run `now`."""

    run_id: str
    workflow_id: str
    wanted: Reconciliation
    now: datetime


@dataclass(frozen=True, slots=True)
class Comparing:
    """A run, and how far it has come down the provider's list."""

    run: Run
    progress: Progress


@dataclass(frozen=True, slots=True)
class Review:
    """Findings that were handed on and are to be looked at, perhaps for the `last` time."""

    run_id: str
    subjects: tuple[str, ...]
    last: bool


@dataclass(frozen=True, slots=True)
class Setback:
    """Why a run cannot go on for now. With `final` a person has given it up for good."""

    run_id: str
    problem: str
    now: datetime
    final: bool = False


@dataclass(frozen=True, slots=True)
class Closing:
    """A run that ends `now`."""

    run_id: str
    now: datetime


class ReconciliationActivities:
    """Activities about runs, their findings and their reports."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @activity.defn
    async def open_run(self, opening: RunOpening) -> Run:
        """Decide the window, and record that the run has begun; raise InvalidWindow."""
        wanted = opening.wanted
        async with self._engine.begin() as connection:
            covered = await runs.covered_until(connection, wanted.source)
            run = Run(
                run_id=opening.run_id,
                source=wanted.source,
                workflow_id=opening.workflow_id,
                window=window_of(wanted, opening.now, covered),
                started_at=opening.now,
                org_id=wanted.org_id,
                dry_run=wanted.dry_run,
                daily=wanted.is_daily,
            )
            return await runs.open_run(connection, run)

    @activity.defn
    async def next_findings(self, run_id: str) -> list[Finding]:
        """Take the next portion of findings that are to be put right.

        One that cannot be taken holds up no other. Once nothing else is left, it is raised.
        """
        async with self._engine.begin() as connection:
            subjects = await findings.open_ones(connection, run_id, PORTION)

            async def take_part(part: Sequence[str]) -> list[Finding]:
                async with connection.begin_nested():
                    return await findings.hand_on(connection, run_id, part)

            taken = await apart(subjects, take_part, "finding {}".format)
            if taken.failed and not taken.done:
                raise taken.failed[0].failure
        return list(taken.done)

    @activity.defn
    async def review(self, review: Review) -> int:
        """Record what became of a portion; return how many of it are still open.

        Raise for what cannot be recorded, once all else is.
        """
        async with self._engine.begin() as connection:

            async def review_part(part: Sequence[str]) -> list[int]:
                async with connection.begin_nested():
                    return [
                        await findings.review(connection, review.run_id, part, last=review.last)
                    ]

            reviewed = await apart(review.subjects, review_part, "finding {}".format)
        for one in reviewed.failed:
            raise one.failure
        return sum(reviewed.done)

    @activity.defn
    async def set_back(self, setback: Setback) -> None:
        """Record that a run is parked or given up. Raise the alarm if it is daily and parked."""
        status = RunStatus.DISCARDED if setback.final else RunStatus.PARKED
        async with self._engine.begin() as connection:
            run = await runs.set_status(
                connection,
                setback.run_id,
                status,
                problem=setback.problem,
                finished_at=setback.now if setback.final else None,
            )
            if run.daily and not run.dry_run and not setback.final:
                await _cross(connection, [failed(run, setback.problem)])

    @activity.defn
    async def close_run(self, closing: Closing) -> Report:
        """Record that a run has succeeded, store the alerts about it, and return its report."""
        async with self._engine.begin() as connection:
            await runs.set_status(
                connection, closing.run_id, RunStatus.SUCCEEDED, finished_at=closing.now
            )
            report = await runs.report(connection, closing.run_id)
            if not report.run.dry_run:
                await _alert(connection, report)
        return report

    @activity.defn
    async def watch_schedules(self, now: datetime) -> None:
        """Raise an alarm if no daily run has succeeded for 26 hours; clear it when one has.

        Raise for a provider whose runs cannot be looked at, once all others were.
        """

        async def look(source: Source) -> None:
            async with self._engine.begin() as connection:
                last_success = await runs.last_success(connection, source)
                if last_success is not None:
                    await _cross(connection, [overdue(source, last_success, now)])

        looked = await each_apart([*LOOK_BACK], look, "the runs with {}".format)
        for one in looked.failed:
            raise one.failure


async def _alert(connection: AsyncConnection, report: Report) -> None:
    for note in notes(report):
        await alerts.tell(connection, note)
    if report.run.daily:
        cards = await findings.reported_about(connection, report.run.run_id, ABOUT_A_CARD)
        await _cross(connection, crossings(report, cards))


async def _cross(connection: AsyncConnection, crossed: Iterable[Crossing]) -> None:
    for one in crossed:
        await alerts.cross(
            connection, one.alarm, raised=one.raised, alert=one.alert, depth=one.depth
        )
