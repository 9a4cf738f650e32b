"""Open a checkout, or join the one that is open.

One workflow answers everybody who asks for the same checkout, however often.
"""

import asyncio

from temporalio.client import Client, WithStartWorkflowOperation, WorkflowUpdateFailedError
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from billing.errors import BillingError
from billing.payments.checkout import CheckoutSession, NewCheckout
from processes.errors import AnswerIsLate
from processes.request import answer_of
from workflows import checkout
from workflows.checkout import Checkout

# Ask again while more than ten ask the workflow at once, which is Temporal's limit, and while a
# workflow whose session is over has not yet ended.
_ASK_AGAIN_SECONDS = 0.2


class CheckoutPending(BillingError):
    """Stripe has not opened the session yet. The process goes on; the same request joins it."""

    code = "checkout_pending"
    status = 503
    title = "Stripe has not opened the session yet"


async def open_checkout(temporal: Client, wanted: NewCheckout) -> CheckoutSession:
    """Return the session that is to be paid, or whose payment is under way.

    Raise CheckoutPending if there is none within 10 s. Raise TemporalUnavailable.
    """
    try:
        session = await answer_of(
            temporal, lambda: _joined(temporal, wanted), otherwise="no session was opened"
        )
    except AnswerIsLate as late:
        raise _pending("has not answered yet") from late
    if session is None:
        raise _pending("has not taken it so far")
    return session


async def _joined(temporal: Client, wanted: NewCheckout) -> CheckoutSession | None:
    """Ask until there is a session that is not over; start the process again if it has ended.

    Return None if Stripe has not taken the request so far.
    """
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
    # By name: the SDK's types lose the result of an async update that has a description.
    session: CheckoutSession | None = await temporal.execute_update_with_start_workflow(
        "join", result_type=CheckoutSession, start_workflow_operation=start
    )
    return session


async def look_again(temporal: Client, checkout_id: str, event_key: str) -> None:
    """Signal a checkout that something happened to its session. Raise one of TEMPORAL_GONE."""
    await temporal.get_workflow_handle(checkout_id).signal(Checkout.look_again, event_key)


def _pending(how: str) -> CheckoutPending:
    return CheckoutPending(
        f"Stripe {how}; it is asked again, and the same request joins what is under way"
    )
