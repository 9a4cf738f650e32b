"""The gate: a call that is about to start is let in or turned away, from one read, in time."""

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any, Self, TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from api.intake.intake import Intake
from api.monitoring.metrics import Metrics
from billing.calls.call_in_progress import OngoingCall, report_due_in_seconds
from billing.calls.gate import NoCall, decide
from billing.inbox.webhook_event import WebhookEvent
from billing.organizations import AgentKind, Answerer
from billing.platform_rules import PlatformRules
from store.calls import gate as store
from store.calls.gate import Number
from store.database import engine as store_engine
from store.database.errors import DATABASE_GONE

# Vapi waits 7.5 s, all ways included, and a caller hears nothing meanwhile.
ANSWER_WITHIN_SECONDS = 1.0
# Waited for by this much at a time: a loop that is late by seconds has waited for one of them.
_SLICE_SECONDS = 0.1
# A freeze by another process is heard of within twice that.
HEAR_OF_FREEZES_SECONDS = 2.0
# Its own: a burst of webhooks or of lists must not keep callers waiting.
CONNECTIONS = 4
# As many numbers are remembered for when the database is away.
MOST_REMEMBERED = 10_000
# As many requests may wait to be recorded behind their answers.
MOST_UNRECORDED = 500
log = structlog.get_logger()
Found = TypeVar("Found")


class Rejection(StrEnum):
    """Why no call starts, besides what a wallet says."""

    UNKNOWN_NUMBER = "unknown_number"
    NO_ASSISTANT = "no_assistant"
    FAILED_CLOSED = "failed_closed"


_NOT_IN_SERVICE = "Sorry, this number is not in service. Goodbye."
_NOT_NOW = "Sorry, this number cannot take calls at the moment. Please try again later. Goodbye."
# A caller is told nothing of a tenant's money.
SPOKEN: dict[NoCall | Rejection, str] = {
    Rejection.UNKNOWN_NUMBER: _NOT_IN_SERVICE,
    Rejection.NO_ASSISTANT: _NOT_IN_SERVICE,
    Rejection.FAILED_CLOSED: _NOT_NOW,
    **dict.fromkeys(NoCall, _NOT_NOW),
}


@dataclass(frozen=True, slots=True)
class Admission:
    """A call is let in: what answers it, and when Vapi ends it."""

    answerer: Answerer
    max_duration_seconds: int

    @property
    def is_capped(self) -> bool:
        """Whether Vapi can be told when to end it: of a workflow, only the workflow itself can."""
        return self.answerer.kind is not AgentKind.WORKFLOW

    def answer(self) -> dict[str, Any]:
        """Return what Vapi is told: who answers, and for how long instead of their own maximum.

        Source: Vapi's ServerMessageResponseAssistantRequest, whose `squadOverrides` are for all
        members, and whose `workflowOverrides` have no duration.
        """
        kind = self.answerer.kind
        answer: dict[str, Any] = {f"{kind}Id": self.answerer.agent_id}
        if self.is_capped:
            answer[f"{kind}Overrides"] = {"maxDurationSeconds": self.max_duration_seconds}
        return answer


class Gate:
    """An async context manager: what is under way behind the answers ends with it."""

    def __init__(
        self, engine: AsyncEngine, intake: Intake, metrics: Metrics, rules: PlatformRules
    ) -> None:
        self._own = store_engine.beside(
            engine, application_name="callwallet gate", pool_size=CONNECTIONS
        )
        # One statement is a transaction: it needs no BEGIN and no COMMIT of its own.
        self._engine = self._own.execution_options(isolation_level="AUTOCOMMIT")
        self._intake = intake
        self._metrics = metrics
        self._rules = rules
        self._let_in: OrderedDict[str, Admission] = OrderedDict()
        self._behind: set[asyncio.Task[Any]] = set()
        self._ends = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._listening = asyncio.create_task(self._hear_of_freezes())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ends.set()
        await asyncio.wait({self._listening}, timeout=2 * ANSWER_WITHIN_SECONDS)
        self._listening.cancel()
        if self._behind:
            await asyncio.wait(self._behind, timeout=ANSWER_WITHIN_SECONDS)
        await self._own.dispose()

    async def answer(self, phone_number_id: str | None, event: WebhookEvent) -> dict[str, Any]:
        """Answer Vapi's `assistant-request` for a number, and record it behind the answer.

        Refused with an `error` that is spoken.
        """
        with self._metrics.gate_seconds.time():
            decided = await self._decide(phone_number_id or "")
        if not isinstance(decided, Admission):
            self._record(event)
            return {"error": SPOKEN[decided]}
        ongoing = _ongoing(event.subject, phone_number_id, decided, self._rules)
        self._record(replace(event, facts=ongoing))
        return decided.answer()

    async def _decide(self, phone_number_id: str) -> Admission | NoCall | Rejection:
        try:
            found = await self._in_time(phone_number_id)
        except DATABASE_GONE as gone:
            log.warning("the gate decides without the database", error=type(gone).__name__)
            return self._without_database(phone_number_id)
        decided = _judge(found, self._rules)
        self._remember(phone_number_id, decided)
        self._count("accepted" if isinstance(decided, Admission) else decided)
        return decided

    async def _in_time(self, phone_number_id: str) -> Number | None:
        """Wait for what is read, and not for the end of reading. Raise TimeoutError.

        To give a connection back takes turns in a busy loop; to cancel on a dead server, its time.
        """
        found: asyncio.Future[Number | None] = asyncio.get_running_loop().create_future()
        reading = self._keep(self._read(phone_number_id, found))
        reading.add_done_callback(partial(_pass_on, found))
        for _ in range(round(ANSWER_WITHIN_SECONDS / _SLICE_SECONDS)):
            done, _ = await asyncio.wait({found}, timeout=_SLICE_SECONDS)
            if done:
                return found.result()
        reading.cancel()
        raise TimeoutError

    async def _read(self, phone_number_id: str, found: asyncio.Future[Number | None]) -> None:
        async with self._engine.connect() as connection:
            number = await store.standing_of_number(connection, phone_number_id)
            if not found.done():
                found.set_result(number)

    async def _hear_of_freezes(self) -> None:
        """Forget whoever was frozen since it was let in, by this process or by another."""
        while not await self._ends_within(HEAR_OF_FREEZES_SECONDS):
            if not self._let_in:
                continue
            try:
                async with asyncio.timeout(ANSWER_WITHIN_SECONDS), self._engine.connect() as one:
                    frozen = await store.frozen_numbers(one)
            except DATABASE_GONE:
                continue
            for number in frozen:
                self._let_in.pop(number, None)

    async def _ends_within(self, seconds: float) -> bool:
        """Wait, or less if the gate ends; a read that is cut off would lose its connection."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ends.wait(), seconds)
        return self._ends.is_set()

    def _without_database(self, phone_number_id: str) -> Admission | Rejection:
        """Open for whoever was let in last time, as long as then; who answers others is unknown."""
        entry = self._let_in.get(phone_number_id) if self._rules.gate_fails_open else None
        self._count("failed_open" if entry else Rejection.FAILED_CLOSED)
        return entry or Rejection.FAILED_CLOSED

    def _remember(self, phone_number_id: str, decided: Admission | NoCall | Rejection) -> None:
        self._let_in.pop(phone_number_id, None)
        if isinstance(decided, Admission):
            self._let_in[phone_number_id] = decided
        if len(self._let_in) > MOST_REMEMBERED:
            self._let_in.popitem(last=False)

    def _record(self, event: WebhookEvent) -> None:
        """Store the request, and the call that follows from it; a caller does not wait for that."""
        if len(self._behind) < MOST_UNRECORDED:
            self._keep(self._intake.accept(event))

    def _keep(self, work: Coroutine[None, None, Found]) -> asyncio.Task[Found]:
        task = asyncio.create_task(work)
        self._behind.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._behind.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.info("behind the gate", error=str(error))

    def _count(self, answer: str) -> None:
        self._metrics.gate.labels(answer).inc()


def _pass_on(found: asyncio.Future[Number | None], reading: asyncio.Task[None]) -> None:
    """Let whoever waits know that reading has failed."""
    if not (found.done() or reading.cancelled()) and (error := reading.exception()) is not None:
        found.set_exception(error)


def _judge(number: Number | None, rules: PlatformRules) -> Admission | NoCall | Rejection:
    if number is None:
        return Rejection.UNKNOWN_NUMBER
    if number.answerer is None:
        return Rejection.NO_ASSISTANT
    seconds = decide(number.standing, rules)
    return Admission(number.answerer, seconds) if isinstance(seconds, int) else seconds


def _ongoing(
    call_id: str, phone_number_id: str | None, entry: Admission, rules: PlatformRules
) -> OngoingCall | None:
    """Return the call that follows; which squad or workflow it is of, Vapi itself says later."""
    if not call_id:
        return None
    answerer, cap = entry.answerer, entry.max_duration_seconds if entry.is_capped else None
    assistant_id = answerer.agent_id if answerer.kind is AgentKind.ASSISTANT else None
    due = report_due_in_seconds(cap or rules.longest_call_seconds)
    return OngoingCall(call_id, assistant_id, phone_number_id, due, cap)
