"""Nudge the drains of the inbox."""

from collections.abc import Mapping
from typing import Any

from temporalio.client import Client
from temporalio.types import MethodAsyncNoParam

from billing.inbox.webhook_event import Drain
from workflows import drain_inbox, drain_messages
from workflows.drain_inbox import DrainInbox
from workflows.drain_messages import DrainMessages
from workflows.shared.options import BILLING_QUEUE

_WORKFLOWS: Mapping[Drain, tuple[MethodAsyncNoParam[Any, None], str]] = {
    Drain.INBOX: (DrainInbox.run, drain_inbox.SUMMARY),
    Drain.MESSAGES: (DrainMessages.run, drain_messages.SUMMARY),
}


async def nudge(temporal: Client, drain: Drain) -> None:
    """Signal a drain that there is something in the inbox; start it if it does not run."""
    run, summary = _WORKFLOWS[drain]
    await temporal.start_workflow(
        run,
        id=drain,
        task_queue=BILLING_QUEUE,
        static_summary=summary,
        start_signal="nudge",
    )
