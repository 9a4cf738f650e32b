"""Do a step here and now if that works, and by the task queue if not."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import FailureError, is_cancelled_exception

from workflows.shared.options import AT_ONCE, DATABASE

Argument = TypeVar("Argument")
Answer = TypeVar("Answer")


async def local_first(
    activity: Callable[[Any, Argument], Awaitable[Answer]], argument: Argument, summary: str
) -> Answer:
    """Execute an activity of a few milliseconds in this worker, without a way through the server.

    What does not work there is tried again by the task queue, where operators see it. A local
    activity fails as what it failed with, not as an ActivityError around it.
    """
    try:
        return await workflow.execute_local_activity_method(activity, argument, **AT_ONCE)
    except FailureError as failure:
        if is_cancelled_exception(failure):
            raise
    return await workflow.execute_activity_method(activity, argument, summary=summary, **DATABASE)
