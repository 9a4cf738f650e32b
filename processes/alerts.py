"""Have the alerts delivered that were stored just now."""

from datetime import timedelta

import structlog
from temporalio.client import Client

from processes.errors import TEMPORAL_GONE
from processes.request import require_patience
from workflows.deliver_alerts import DeliverAlerts
from workflows.shared import alert_requests

# Nobody waits long for what is done by itself later.
_PATIENCE = timedelta(seconds=5)
log = structlog.get_logger()


async def deliver(temporal: Client, why: str) -> None:
    """Start the delivery, or have the one that runs look again.

    While Temporal is away they wait in the outbox, where the watch finds them: nothing is refused
    for that, since what they tell of is done.
    """
    try:
        await temporal.start_workflow(
            DeliverAlerts.run,
            0,
            start_signal=alert_requests.AGAIN,
            start_signal_args=[why],
            rpc_timeout=_PATIENCE,
            **alert_requests.start_options(),
        )
    except TEMPORAL_GONE as gone:
        require_patience(gone)
        log.warning("alerts wait in the outbox until the watch finds them", why=why)
