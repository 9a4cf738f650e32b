"""One process reaches another: it starts it, or signals it if it runs already."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

from workflows.options import StartOptions

Said = TypeVar("Said")


async def start(
    run: Callable[[Any, Any], Awaitable[Any]] | str, argument: object, options: StartOptions
) -> bool:
    """Start a process that outlives this one; False when its id is taken."""
    try:
        await workflow.start_child_workflow(
            run, argument, parent_close_policy=ParentClosePolicy.ABANDON, **options
        )
    except WorkflowAlreadyStartedError:
        return False
    return True


async def tell(workflow_id: str, signal: Callable[[Any, Said], None] | str, said: Said) -> bool:
    """Signal a process; False when none runs under this id."""
    try:
        await workflow.get_external_workflow_handle(workflow_id).signal(signal, said)
    except ApplicationError:
        return False
    return True


async def start_or_tell(
    run: Callable[[Any, Any], Awaitable[Any]] | str,
    argument: object,
    options: StartOptions,
    signal: Callable[[Any, Said], None] | str,
    said: Said,
) -> None:
    """Start a process, or signal the one that runs; between the two it may end, so try again."""
    while not await start(run, argument, options):
        if await tell(options["id"], signal, said):
            return
