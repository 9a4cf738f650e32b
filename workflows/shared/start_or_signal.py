"""Start another process, or signal it if it runs already."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

from workflows.shared.options import StartOptions

Argument = TypeVar("Argument")


async def start(
    run: Callable[[Any, Any], Awaitable[Any]] | str, argument: object, options: StartOptions
) -> bool:
    """Start a process that outlives this one. Return False if its id is taken."""
    try:
        await workflow.start_child_workflow(
            run, argument, parent_close_policy=ParentClosePolicy.ABANDON, **options
        )
    except WorkflowAlreadyStartedError:
        return False
    return True


async def signal(
    workflow_id: str, method: Callable[[Any, Argument], None] | str, argument: Argument
) -> bool:
    """Signal a process. Return False if none runs under this id."""
    try:
        await workflow.get_external_workflow_handle(workflow_id).signal(method, argument)
    except ApplicationError:
        return False
    return True


async def start_or_signal(
    run: Callable[[Any, Any], Awaitable[Any]] | str,
    input_: object,
    options: StartOptions,
    method: Callable[[Any, Argument], None] | str,
    argument: Argument,
) -> None:
    """Start a process, or signal the one that runs.

    It may end between the two, and be started by another process: so try until one succeeds.
    """
    while not await start(run, input_, options):
        if await signal(options["id"], method, argument):
            return
