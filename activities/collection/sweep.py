"""Find what waits in PostgreSQL though its reason has gone, or its process."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.parking.visibility import Visibility
from billing import adjustments as adjusting
from billing.adjustments import Proposal, proposal_of
from billing.calls.call import CallState, EndedCall, call_workflow_id
from billing.collection import WaitingKind, WaitingSweep
from billing.messages.message import MessageState, SeenMessage, message_workflow_id
from billing.recharges.recharge import recharge_workflow_id
from store import adjustments, collection
from store.collection import StillWaiting

# As many as Temporal can be asked about at once.
PAGE = 100
_WORKFLOW_IDS = {
    WaitingKind.CALL: call_workflow_id,
    WaitingKind.MESSAGE: message_workflow_id,
    WaitingKind.ADJUSTMENT: adjusting.workflow_id,
    WaitingKind.RECHARGE: recharge_workflow_id,
}
# What may sleep though its reason is gone: a tariff tells some thousands at most, and a process of
# an older version does not ask its provider again by itself.
_WOKEN = frozenset(
    {MessageState.NO_TARIFF, MessageState.UNKNOWN_SEGMENTS, CallState.UNKNOWN_DURATION}
)


@dataclass(frozen=True, slots=True)
class SweptPage:
    """What is to be done about a page of what waits, and how far the sweep is behind it.

    `payable` are organisations that can pay something, `woken` are workflows that are to look
    again. The others have lost their processes: calls, messages, proposals of adjustments, and
    organisations whose recharge is under way.
    """

    sweep: WaitingSweep
    payable: tuple[str, ...] = ()
    woken: tuple[str, ...] = ()
    calls: tuple[EndedCall, ...] = ()
    messages: tuple[SeenMessage, ...] = ()
    proposals: tuple[Proposal, ...] = ()
    recharges: tuple[str, ...] = ()

    @property
    def begun(self) -> int:
        """How many processes are to be begun anew."""
        return sum(map(len, (self.calls, self.messages, self.proposals, self.recharges)))


class SweepActivities:
    """The activity that looks at a page of what waits, and changes nothing."""

    def __init__(self, engine: AsyncEngine, visibility: Visibility) -> None:
        self._engine = engine
        self._visibility = visibility

    @activity.defn
    async def find_waiting(self, sweep: WaitingSweep) -> SweptPage:
        """Look at the next page. What Temporal's list is late about is begun once too often."""
        if sweep.kind is None:
            return SweptPage(sweep)
        async with self._engine.connect() as connection:
            waiting = await collection.page(connection, sweep.kind, sweep.after, PAGE)
        if not waiting:
            return SweptPage(sweep.behind(None))
        ids = {one.name: _WORKFLOW_IDS[sweep.kind](one.name) for one in waiting}
        running = await self._visibility.running(ids.values())
        lost = [one for one in waiting if one.is_old and ids[one.name] not in running]
        page = SweptPage(
            sweep.behind(waiting[-1].name),
            payable=tuple(sorted({one.payable_by for one in waiting if one.payable_by})),
            woken=tuple(
                ids[one.name] for one in waiting if one.state in _WOKEN and ids[one.name] in running
            ),
            calls=tuple(one.facts for one in lost if isinstance(one.facts, EndedCall)),
            messages=tuple(one.facts for one in lost if isinstance(one.facts, SeenMessage)),
            proposals=await self._proposals(sweep.kind, lost),
            recharges=_names(lost) if sweep.kind is WaitingKind.RECHARGE else (),
        )
        return replace(page, sweep=_counted(page, waiting, sweep.kind))

    async def _proposals(
        self, kind: WaitingKind, lost: Iterable[StillWaiting]
    ) -> tuple[Proposal, ...]:
        if kind is not WaitingKind.ADJUSTMENT:
            return ()
        async with self._engine.connect() as connection:
            found = [await adjustments.find(connection, name) for name in _names(lost)]
        return tuple(proposal_of(one) for one in found if one is not None)


def _names(waiting: Iterable[StillWaiting]) -> tuple[str, ...]:
    return tuple(one.name for one in waiting)


def _counted(page: SweptPage, waiting: Sequence[StillWaiting], kind: WaitingKind) -> WaitingSweep:
    sweep = page.sweep
    unreadable = [one for one in waiting if one.facts is None]
    if kind not in (WaitingKind.CALL, WaitingKind.MESSAGE):
        unreadable = []
    for one in unreadable:
        activity.logger.warning("nobody can read what is known of %s %s", kind, one.name)
    return replace(
        sweep,
        looked_at=sweep.looked_at + len(waiting),
        collected=sweep.collected + sum(one.payable_by is not None for one in waiting),
        told=sweep.told + len(page.woken),
        begun=sweep.begun + page.begun,
        unreadable=sweep.unreadable + len(unreadable),
    )
