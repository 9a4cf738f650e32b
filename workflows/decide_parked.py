"""Signal a person's decision to every parked workflow that it is about, at a steady pace."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from temporalio import workflow
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy

from activities.parking.visibility import ParkedNames, ParkedQuestion, Visibility
from activities.temporal.search_attributes import ORG_ID, RUNNING, BillingState
from billing.parking.parked_work import BulkDecision, BulkProgress, ParkedFilter, Verdict
from billing.text import inert
from workflows.shared.options import BILLING_QUEUE, PATIENT, StartOptions
from workflows.shared.parking import Parking
from workflows.shared.start_or_signal import signal
from workflows.shared.visibility import show_done

WORKFLOW_PREFIX = "decide/"
# A page is signalled within this time, so that little of what it names has ended by then.
_SECONDS_A_PAGE = 10
_SECOND = timedelta(seconds=1)
_SIGNALS = {Verdict.REPROCESS: Parking.reprocess, Verdict.DISCARD: Parking.discard}


@workflow.defn
class DecideParked:
    """Signal each workflow once, as the person who decided could have done by hand.

    It is never parked itself, so it does not signal itself.
    """

    @workflow.init
    def __init__(self, bulk: BulkDecision) -> None:
        self._bulk = replace(bulk, started_at=bulk.started_at or workflow.now())
        self._show(bulk.progress)

    @workflow.query(description="How many it is about, how many were told, how many were gone.")
    def progress(self) -> BulkProgress:
        """Return how far it is."""
        return self._progress

    @workflow.run
    async def run(self, bulk: BulkDecision) -> BulkProgress:
        """Signal page by page; continue as new between two pages when the history is long."""
        cursor = bulk.cursor
        if cursor is None:
            self._show(BulkProgress(matched=await self._count()))
        while True:
            named = await self._name(cursor)
            for portion in _portions(named.workflow_ids, self._bulk.pace):
                await self._signal(portion)
            cursor = named.cursor
            if cursor is None:
                return self._close()
            if workflow.info().is_continue_as_new_suggested():
                rest = replace(self._bulk, cursor=cursor, progress=self._progress)
                workflow.continue_as_new(rest)

    async def _count(self) -> int:
        return await workflow.execute_activity_method(
            Visibility.count_parked, self._bulk.about, summary="how many are there?", **PATIENT
        )

    async def _name(self, cursor: str | None) -> ParkedNames:
        return await workflow.execute_activity_method(
            Visibility.name_parked,
            ParkedQuestion(self._bulk.about, self._bulk.pace * _SECONDS_A_PAGE, cursor),
            summary="which are the next?",
            **PATIENT,
        )

    async def _signal(self, portion: Sequence[str]) -> None:
        """Signal as many as the pace allows in a second, and let that second pass."""
        second_is_over = asyncio.create_task(workflow.sleep(_SECOND))
        method, words = _SIGNALS[self._bulk.verdict], self._bulk.said
        were_there = await asyncio.gather(*(signal(one, method, words) for one in portion))
        so_far, signalled = self._progress, sum(were_there)
        told, gone = so_far.told + signalled, so_far.gone + len(portion) - signalled
        self._show(BulkProgress(max(so_far.matched, told + gone), told, gone))
        await second_is_over

    def _close(self) -> BulkProgress:
        so_far = self._progress
        self._show(replace(so_far, matched=so_far.told + so_far.gone, done=True))
        show_done(BillingState.SETTLED, self._bulk.which.org_id, None, was_parked=False)
        return self._progress

    def _show(self, progress: BulkProgress) -> None:
        self._progress = progress
        workflow.set_current_details(_page(self._bulk, progress))


def _page(bulk: BulkDecision, progress: BulkProgress) -> str:
    """Write what an operator sees in the Temporal UI, in Markdown."""
    stop = "**To stop it:** *More Actions*, *Terminate*. What was told stays told."
    return "\n".join(
        (
            f"## {inert(title(bulk))}",
            f"**Who and why.** {inert(bulk.who_and_why)}",
            "",
            f"**Matched:** {progress.matched} · **Told:** {progress.told} ·"
            f" **Gone:** {progress.gone} · {bulk.pace} a second"
            f"{' · **Done**' if progress.done else ''}",
            "",
            "Each is told once, and records who and why. *Gone* is what had ended before it could"
            " be told. What parks after this began is left alone.",
            *(() if progress.done else ("", stop)),
        )
    )


def title(bulk: BulkDecision) -> str:
    """Write in one line what is decided, and about what."""
    return f"{bulk.verdict.capitalize()} what is parked: {_which(bulk.which)}"


def _which(which: ParkedFilter) -> str:
    before = f"before {which.parked_before:%Y-%m-%d %H:%M:%S} UTC" if which.parked_before else ""
    parts = (which.reason, which.process, which.org_id and f"of {which.org_id}", before)
    return ", ".join(part for part in parts if part) or "everything"


def _portions(ids: Sequence[str], size: int) -> list[Sequence[str]]:
    return [ids[start : start + size] for start in range(0, len(ids), size)]


def workflow_id(bulk_id: str) -> str:
    """Return the id of the workflow of a bulk decision."""
    return f"{WORKFLOW_PREFIX}{bulk_id}"


def start_options(bulk: BulkDecision) -> StartOptions:
    """Return how a bulk decision is started: never twice."""
    org_id = bulk.which.org_id
    about = [SearchAttributePair(ORG_ID, org_id)] if org_id else []
    return StartOptions(
        id=workflow_id(bulk.bulk_id),
        task_queue=BILLING_QUEUE,
        id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        static_summary=inert(title(bulk))[:200],
        search_attributes=TypedSearchAttributes([*RUNNING, *about]),
    )
