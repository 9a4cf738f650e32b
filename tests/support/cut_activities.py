"""Make an activity fail before or after it is done, or terminate its workflow there."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from temporalio import activity
from temporalio.client import Client
from temporalio.client import Interceptor as ClientInterceptor
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor


class Cut(StrEnum):
    BEFORE = "worker gone before it was done"
    ANSWER = "done, and the answer lost"
    PROCESS_BEFORE = "process gone before it was done"
    PROCESS_AFTER = "done, and the process gone"


@dataclass
class Cutter(ClientInterceptor, Interceptor):
    """Cut an organisation's process once: at the n-th call (from 1) of an activity."""

    client: Client | None = None
    planned: dict[str, tuple[str, int, Cut]] = field(default_factory=dict)
    seen: dict[tuple[str, str], int] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)

    def cut(self, org_id: str, step: str, time: int, how: Cut) -> None:
        self.planned[org_id] = (step, time, how)

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return _Cutting(next, self)

    def due(self, org_id: str, step: str) -> Cut | None:
        """Return how this call is to be cut, or None. Count the call."""
        time = self.seen[org_id, step] = self.seen.get((org_id, step), 0) + 1
        if org_id in self.done or self.planned.get(org_id, ())[:2] != (step, time):
            return None
        self.done.add(org_id)
        return self.planned[org_id][2]


class _Cutting(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, cutter: Cutter) -> None:  # noqa: A002
        super().__init__(next)
        self._cutter = cutter

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        info = activity.info()
        how = self._cutter.due(
            _organization(input.args[0]) if input.args else "", info.activity_type
        )
        if how in (Cut.PROCESS_BEFORE, Cut.PROCESS_AFTER):
            assert self._cutter.client is not None
            assert info.workflow_id is not None
            if how is Cut.PROCESS_AFTER:
                await super().execute_activity(input)
            await self._cutter.client.get_workflow_handle(info.workflow_id).terminate("cut off")
            raise ApplicationError("cut off", type="cut", non_retryable=True)
        if how is Cut.BEFORE:
            raise ApplicationError("cut off before it was done", type="cut")
        answer = await super().execute_activity(input)
        if how is Cut.ANSWER:
            raise ApplicationError("done, and the answer lost", type="cut")
        return answer


def _organization(argument: Any) -> str:
    """Return the organisation of an activity, which its argument is, or contains."""
    if isinstance(argument, str):
        return argument
    for name in ("org_id", "attempt", "payment"):
        found = getattr(argument, name, None)
        if found is not None:
            return found if isinstance(found, str) else _organization(found)
    return ""
