"""Open a checkout, or join the one that is open: by one workflow, whoever asks and how often."""

import asyncio

from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from api import processes
from api.problems import TEMPORAL_GONE, TemporalUnavailable
from billing.checkout import CheckoutSession, NewCheckout
from billing.errors import BillingError
from workflows import checkout
from workflows.checkout import Checkout

# While more ask at once than a workflow hears (10), and until one that is over has ended.
_ASK_AGAIN_SECONDS = 0.2


class CheckoutPending(BillingError):
    """Stripe has not opened the session yet; its process goes on, and the same request joins it."""

    code = "checkout_pending"
    status = 503
    title = "Stripe has not opened the session yet"


async def open_checkout(temporal: Client, wanted: NewCheckout) -> CheckoutSession:
    """Answer with the session that is to be paid, or whose payment is under way.

    Raises CheckoutPending when that is not known within 10 s, and TemporalUnavailable.
    """
    try:
        if not await processes.worker_polls(temporal):
            raise TemporalUnavailable("no worker is running, so no session was opened")
        async with asyncio.timeout(processes.ANSWER_SECONDS):
            session = await _joined(temporal, wanted)
    except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError) as late:
        raise _pending("has not answered yet") from late
    except TEMPORAL_GONE as gone:
        raise TemporalUnavailable("Temporal does not answer, so no session was opened") from gone
    if session is None:
        raise _pending("has not taken it so far")
    return session


async def _joined(temporal: Client, wanted: NewCheckout) -> CheckoutSession | None:
    """Ask until there is a session that is not over; a process that ends meanwhile is no answer."""
    while True:
        try:
            session = await _ask(temporal, wanted)
        except WorkflowUpdateFailedError:
            await asyncio.sleep(_ASK_AGAIN_SECONDS)
            continue
        except RPCError as busy:
            if busy.status is not RPCStatusCode.RESOURCE_EXHAUSTED:
                raise
            await asyncio.sleep(_ASK_AGAIN_SECONDS)
            continue
        if session is None or not session.is_over:
            return session
        await asyncio.sleep(_ASK_AGAIN_SECONDS)


async def _ask(temporal: Client, wanted: NewCheckout) -> CheckoutSession | None:
    start = WithStartWorkflowOperation(
        Checkout.run,
        wanted,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        **checkout.start_options(wanted),
    )
    # By name: the SDK's types lose what an async update with a description answers.
    session: CheckoutSession | None = await temporal.execute_update_with_start_workflow(
        "join", result_type=CheckoutSession, start_workflow_operation=start
    )
    return session


def _pending(how: str) -> CheckoutPending:
    return CheckoutPending(
        f"Stripe {how}; it is asked again, and the same request joins what is under way"
    )
