"""Time-outs, retries and task queues, by name."""

from datetime import timedelta
from typing import TypedDict

from temporalio.common import RetryPolicy, TypedSearchAttributes, WorkflowIDReusePolicy

BILLING_QUEUE = "billing"
PROVIDERS_QUEUE = "providers"


class ActivityOptions(TypedDict, total=False):
    """What an activity is called with, besides its name and argument."""

    task_queue: str
    start_to_close_timeout: timedelta
    heartbeat_timeout: timedelta
    retry_policy: RetryPolicy


class LocalActivityOptions(TypedDict):
    """What a local activity is called with: it has no task queue, it runs here and now."""

    start_to_close_timeout: timedelta
    retry_policy: RetryPolicy


# Three tries from 2 s on, then a person is shown (and the workflow tries again by itself, slowly).
_THREE_TRIES = RetryPolicy(initial_interval=timedelta(seconds=2), maximum_attempts=3)

DATABASE = ActivityOptions(
    task_queue=BILLING_QUEUE,
    start_to_close_timeout=timedelta(seconds=15),
    retry_policy=_THREE_TRIES,
)
PROVIDER = ActivityOptions(
    task_queue=PROVIDERS_QUEUE,
    start_to_close_timeout=timedelta(seconds=30),
    retry_policy=_THREE_TRIES,
)
# What must not be done twice: what became of it is looked up instead.
ONCE = ActivityOptions(
    task_queue=PROVIDERS_QUEUE,
    start_to_close_timeout=timedelta(seconds=30),
    retry_policy=RetryPolicy(maximum_attempts=1),
)
# A page of a provider's list, with what the ledger has to say to it.
LISTING = ActivityOptions(
    task_queue=PROVIDERS_QUEUE,
    start_to_close_timeout=timedelta(minutes=5),
    heartbeat_timeout=timedelta(seconds=90),
    retry_policy=_THREE_TRIES,
)
# The first try of a transaction of milliseconds, in the worker that has the workflow already; what
# goes wrong there is tried again where operators see it.
AT_ONCE = LocalActivityOptions(
    start_to_close_timeout=timedelta(seconds=5),
    retry_policy=RetryPolicy(maximum_attempts=1),
)
# Nobody can do anything about one drain: it is tried until the database is back.
DRAIN = ActivityOptions(
    task_queue=BILLING_QUEUE,
    start_to_close_timeout=timedelta(minutes=10),
    heartbeat_timeout=timedelta(seconds=20),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=10)
    ),
)
DRAIN_MESSAGES = ActivityOptions(**{**DRAIN, "task_queue": PROVIDERS_QUEUE})
# The same for a step that closes a process, or that serves many.
PATIENT = ActivityOptions(
    task_queue=BILLING_QUEUE,
    start_to_close_timeout=timedelta(seconds=15),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(seconds=2), maximum_interval=timedelta(minutes=1)
    ),
)
# A look at everything. Three tries take half a minute: who restarts PostgreSQL is not told of it.
WATCH = ActivityOptions(
    task_queue=BILLING_QUEUE,
    start_to_close_timeout=timedelta(minutes=1),
    retry_policy=RetryPolicy(initial_interval=timedelta(seconds=10), maximum_attempts=3),
)
# The same while it cannot be: one activity waits, however long, and no history grows.
WATCH_AGAIN = ActivityOptions(
    task_queue=BILLING_QUEUE,
    start_to_close_timeout=timedelta(minutes=1),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(seconds=5), maximum_interval=timedelta(seconds=30)
    ),
)
# Alerts wait for Slack for as long as it takes. One post ends within the heartbeat's time.
ALERTS = ActivityOptions(
    task_queue=PROVIDERS_QUEUE,
    start_to_close_timeout=timedelta(minutes=30),
    heartbeat_timeout=timedelta(minutes=2),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=2)
    ),
)


# The whole ledger, with a heartbeat for every hundred organisations.
AUDIT = ActivityOptions(
    task_queue=BILLING_QUEUE,
    start_to_close_timeout=timedelta(hours=2),
    heartbeat_timeout=timedelta(minutes=6),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(seconds=10), maximum_interval=timedelta(minutes=5)
    ),
)
# Some dozens of small batches, for which nobody waits.
PRUNE = ActivityOptions(
    task_queue=BILLING_QUEUE,
    start_to_close_timeout=timedelta(minutes=30),
    heartbeat_timeout=timedelta(minutes=1),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(seconds=10), maximum_interval=timedelta(minutes=5)
    ),
)


class StartOptions(TypedDict):
    """How a process is started, by a client or by another process."""

    id: str
    task_queue: str
    id_reuse_policy: WorkflowIDReusePolicy
    static_summary: str
    search_attributes: TypedSearchAttributes
