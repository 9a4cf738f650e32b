"""Every day, find what still waits though its reason has gone, or its process."""

import asyncio
from datetime import timedelta

from temporalio import workflow

from activities.collection.sweep import SweepActivities, SweptPage
from billing.adjustments import Proposal
from billing.collection import WaitingSweep
from workflows import adjust
from workflows.adjust import Adjust
from workflows.bill_call import bill_or_tell
from workflows.bill_message import hear_of
from workflows.shared.collection_requests import collect_waiting
from workflows.shared.drain import MOST_HANDED_OVER
from workflows.shared.options import PATIENT
from workflows.shared.parking import Parking
from workflows.shared.recharge_requests import recharge_again
from workflows.shared.start_or_signal import signal, start

# A page has a hundred. What this tells and begins shares the workers with live traffic.
PAUSE = timedelta(seconds=1)


@workflow.defn
class SweepWaiting:
    """One sweep for all, and no timer for each: whoever was not told that a wait is over, is.

    It charges nothing by itself. What can be paid by now is collected, what may be priced by now
    looks again, and what has lost its process gets another.
    """

    @workflow.run
    async def run(self, sweep: WaitingSweep | None = None) -> WaitingSweep:
        """Look at all that waits, a page at a time; return what was done about it.

        `sweep` is how far a run came that continues as this one.
        """
        sweep = sweep or WaitingSweep()
        begun_before = sweep.begun
        while sweep.kind is not None:
            workflow.set_current_details(_details(sweep))
            page = await workflow.execute_activity_method(
                SweepActivities.find_waiting,
                sweep,
                summary=f"which {sweep.kind}s wait after {sweep.after or 'none'}?"[:200],
                **PATIENT,
            )
            if await self._see_to(page):
                await workflow.sleep(PAUSE)
            sweep = page.sweep
            is_long = workflow.info().is_continue_as_new_suggested()
            if is_long or sweep.begun - begun_before >= MOST_HANDED_OVER:
                workflow.continue_as_new(sweep)
        workflow.set_current_details(_details(sweep))
        return sweep

    async def _see_to(self, page: SweptPage) -> bool:
        """Do what is to be done about a page; return whether there was anything."""
        why = f"{workflow.info().workflow_id}: it may go on by now"
        steps = (
            *(collect_waiting(org_id) for org_id in page.payable),
            *(signal(one, Parking.wake_up, why) for one in page.woken),
            *(bill_or_tell(call, why) for call in page.calls),
            *(hear_of(seen) for seen in page.messages),
            *(_propose_again(proposal) for proposal in page.proposals),
            *(recharge_again(org_id, why) for org_id in page.recharges),
        )
        await asyncio.gather(*steps)
        return bool(steps)


async def _propose_again(proposal: Proposal) -> None:
    """Begin the process of an adjustment again, which reads where it stands."""
    await start(Adjust.run, proposal, adjust.start_options(proposal))


def _details(sweep: WaitingSweep) -> str:
    """Write what an operator sees in the Temporal UI, in Markdown."""
    where = f"at {sweep.kind}s, after `{sweep.after or '-'}`" if sweep.kind else "done"
    return "\n".join(
        (
            f"## {sweep.looked_at} that wait were looked at",
            f"**Now:** {where}",
            "",
            f"{sweep.collected} can be paid by now and are collected · {sweep.told} were told to"
            f" look again · {sweep.begun} had lost their processes and were begun anew ·"
            f" {sweep.unreadable} cannot be read (the worker's log names them)",
        )
    )
