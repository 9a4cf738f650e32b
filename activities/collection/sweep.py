"""Find what waits in PostgreSQL though its reason has gone, or its process."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from activities.parking.visibility import Visibility
from activities.temporal.isolation import Apart, apart, each_apart
from billing import adjustments as adjusting
from billing.adjustments import Proposal, proposal_of
from billing.alerts.collection import cannot_be_swept
from billing.calls.call import CallState, EndedCall, call_workflow_id
from billing.collection import WaitingKind, WaitingSweep
from billing.messages.message import MessageState, SeenMessage, message_workflow_id
from billing.recharges.recharge import recharge_workflow_id
from store import adjustments, collection
from store.alerts import alerts
from store.collection import StillWaiting

# As many as Temporal can be asked about at once.
PAGE = 100
# Temporal refuses longer ids. A process that would start one under such an id could not go on.
_LONGEST_ID_BYTES = 1000
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


@dataclass(frozen=True, slots=True)
class _Looked:
    """What waits, the id of its process, and whether that runs."""

    waiting: StillWaiting
    workflow_id: str
    runs: bool

    @property
    def is_lost(self) -> bool:
        """Whether it should have a process by now, and has none."""
        return self.waiting.is_old and not self.runs


class SweepActivities:
    """The activity that looks at a page of what waits, and changes nothing."""

    def __init__(self, engine: AsyncEngine, visibility: Visibility) -> None:
        self._engine = engine
        self._visibility = visibility

    @activity.defn
    async def find_waiting(self, sweep: WaitingSweep) -> SweptPage:
        """Look at the next page. What Temporal's list is late about is begun once too often.

        What cannot be looked at is named, told to people, and holds up no other.
        """
        kind = sweep.kind
        if kind is None:
            return SweptPage(sweep)
        async with self._engine.connect() as connection:
            names = await collection.names(connection, kind, sweep.after, PAGE)
            if not names:
                return SweptPage(sweep.behind(None))
            read = await _read(connection, kind, names)
        looked = await apart(read.done, partial(self._look, kind), _name)
        proposed = await self._proposals(kind, looked.done)
        page = _page(sweep.behind(names[-1]), looked.done, proposed.done, kind)
        bad = (
            *read.alone,
            *(one.name for one in looked.alone),
            *proposed.alone,
            *_unreadable(kind, looked.done),
        )
        if bad:
            async with self._engine.begin() as connection:
                await alerts.tell(connection, cannot_be_swept(kind, bad))
        return replace(page, sweep=_counted(page, names, looked.done, bad))

    async def _look(self, kind: WaitingKind, part: Sequence[StillWaiting]) -> list[_Looked]:
        """Ask Temporal which of the processes run."""
        ids = {one.name: _workflow_id(kind, one.name) for one in part}
        running = await self._visibility.running(ids.values())
        return [_Looked(one, ids[one.name], ids[one.name] in running) for one in part]

    async def _proposals(
        self, kind: WaitingKind, looked: Iterable[_Looked]
    ) -> Apart[str, Proposal | None]:
        """Read what was asked for by the adjustments that have lost their processes."""
        if kind is not WaitingKind.ADJUSTMENT:
            return Apart(())

        async def read(name: str) -> Proposal | None:
            async with self._engine.connect() as connection:
                found = await adjustments.find(connection, name)
            return found and proposal_of(found)

        return await each_apart(_lost(looked), read, "adjustment {}".format)


async def _read(
    connection: AsyncConnection, kind: WaitingKind, names: Sequence[str]
) -> Apart[str, StillWaiting]:
    async def read_part(part: Sequence[str]) -> list[StillWaiting]:
        async with connection.begin_nested():
            return await collection.read(connection, kind, part)

    return await apart(names, read_part, f"{kind} {{}}".format)


def _workflow_id(kind: WaitingKind, name: str) -> str:
    """Return the id of a process; raise ValueError if Temporal takes none that is so long."""
    workflow_id = _WORKFLOW_IDS[kind](name)
    if len(workflow_id.encode()) > _LONGEST_ID_BYTES:
        raise ValueError("no process can have this name")
    return workflow_id


def _page(
    sweep: WaitingSweep,
    looked: Sequence[_Looked],
    proposals: Iterable[Proposal | None],
    kind: WaitingKind,
) -> SweptPage:
    lost = [one.waiting.facts for one in looked if one.is_lost]
    return SweptPage(
        sweep,
        payable=tuple(sorted({one.waiting.payable_by for one in looked if one.waiting.payable_by})),
        woken=tuple(one.workflow_id for one in looked if one.waiting.state in _WOKEN and one.runs),
        calls=tuple(one for one in lost if isinstance(one, EndedCall)),
        messages=tuple(one for one in lost if isinstance(one, SeenMessage)),
        proposals=tuple(one for one in proposals if one is not None),
        recharges=_lost(looked) if kind is WaitingKind.RECHARGE else (),
    )


def _lost(looked: Iterable[_Looked]) -> tuple[str, ...]:
    return tuple(one.waiting.name for one in looked if one.is_lost)


def _name(one: StillWaiting) -> str:
    return f"what waits as {one.name}"


def _unreadable(kind: WaitingKind, looked: Iterable[_Looked]) -> list[str]:
    """Name those of which nobody can read what is known; no process is begun anew without that."""
    if kind not in (WaitingKind.CALL, WaitingKind.MESSAGE):
        return []
    names = [one.waiting.name for one in looked if one.waiting.facts is None]
    for name in names:
        activity.logger.warning("nobody can read what is known of %s %s", kind, name)
    return names


def _counted(
    page: SweptPage, names: Sequence[str], looked: Sequence[_Looked], bad: Sequence[str]
) -> WaitingSweep:
    sweep = page.sweep
    return replace(
        sweep,
        looked_at=sweep.looked_at + len(names),
        collected=sweep.collected + sum(one.waiting.payable_by is not None for one in looked),
        told=sweep.told + len(page.woken),
        begun=sweep.begun + page.begun,
        unreadable=sweep.unreadable + len(bad),
    )
