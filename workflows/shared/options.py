"""Time-outs, retries and task queues, by name."""

from datetime import timedelta
from typing import TypedDict

from temporalio.common import RetryPolicy, TypedSearchAttributes, WorkflowIDReusePolicy

BILLING_QUEUE = "billing"
PROVIDERS_QUEUE = "providers"


class ActivityOptions(TypedDict, total=False):
    """The options of an activity."""

    task_queue: str
    schedule_to_start_timeout: timedelta
    start_to_close_timeout: timedelta
    heartbeat_timeout: timedelta
    retry_policy: RetryPolicy


class LocalActivityOptions(TypedDict):
    """The options of a local activity. It has no task queue: the same worker runs it at once."""

    start_to_close_timeout: timedelta
    retry_policy: RetryPolicy


# Three tries, the first pause being 2 s. Then the workflow parks: a person sees it, and it goes on
# trying by itself, more slowly.
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
# For what must not be done twice. After a failure its outcome is looked up instead. What no worker
# has taken within a minute is not done at all: it was decided for then, not for later.
ONCE = ActivityOptions(
    task_queue=PROVIDERS_QUEUE,
    schedule_to_start_timeout=timedelta(minutes=1),
    start_to_close_timeout=timedelta(seconds=30),
    retry_policy=RetryPolicy(maximum_attempts=1),
)
# Read a page of a provider's list, and compare it with the ledger.
LISTING = ActivityOptions(
    task_queue=PROVIDERS_QUEUE,
    start_to_close_timeout=timedelta(minutes=5),
    heartbeat_timeout=timedelta(seconds=90),
    retry_policy=_THREE_TRIES,
)
# The first try of a transaction that takes milliseconds, in the worker that has the workflow
# already. If it fails, it is tried again as an activity, where operators see it.
AT_ONCE = LocalActivityOptions(
    start_to_close_timeout=timedelta(seconds=5),
    retry_policy=RetryPolicy(maximum_attempts=1),
)
# A person could do nothing about one drain, so it never parks: it is tried until the database is
# back.
DRAIN = ActivityOptions(
    task_queue=BILLING_QUEUE,
    start_to_close_timeout=timedelta(minutes=10),
    heartbeat_timeout=timedelta(seconds=20),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=10)
    ),
)
DRAIN_MESSAGES = ActivityOptions(**{**DRAIN, "task_queue": PROVIDERS_QUEUE})
# A step that closes a process, or on which many processes depend. It too is tried until it is done.
PATIENT = ActivityOptions(
    task_queue=BILLING_QUEUE,
    start_to_close_timeout=timedelta(seconds=15),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(seconds=2), maximum_interval=timedelta(minutes=1)
    ),
)
# One round of the watch. Three tries take half a minute: a restart of PostgreSQL raises no alert.
WATCH = ActivityOptions(
    task_queue=BILLING_QUEUE,
    start_to_close_timeout=timedelta(minutes=1),
    retry_policy=RetryPolicy(initial_interval=timedelta(seconds=10), maximum_attempts=3),
)
# Wait until a round is possible again. One activity does all the tries, so no history grows.
WATCH_AGAIN = ActivityOptions(
    task_queue=BILLING_QUEUE,
    start_to_close_timeout=timedelta(minutes=1),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(seconds=5), maximum_interval=timedelta(seconds=30)
    ),
)
# Deliver alerts, waiting for Slack as long as it takes. One post ends within the heartbeat's time.
ALERTS = ActivityOptions(
    task_queue=PROVIDERS_QUEUE,
    start_to_close_timeout=timedelta(minutes=30),
    heartbeat_timeout=timedelta(minutes=2),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=2)
    ),
)
# Audit the whole ledger, with a heartbeat for every hundred organisations.
AUDIT = ActivityOptions(
    task_queue=BILLING_QUEUE,
    start_to_close_timeout=timedelta(hours=2),
    heartbeat_timeout=timedelta(minutes=6),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(seconds=10), maximum_interval=timedelta(minutes=5)
    ),
)
# Remove what is old, in some dozens of small batches. Nobody waits for it.
PRUNE = ActivityOptions(
    task_queue=BILLING_QUEUE,
    start_to_close_timeout=timedelta(minutes=30),
    heartbeat_timeout=timedelta(minutes=1),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(seconds=10), maximum_interval=timedelta(minutes=5)
    ),
)


class StartOptions(TypedDict):
    """The options with which a client, or another process, starts a process."""

    id: str
    task_queue: str
    id_reuse_policy: WorkflowIDReusePolicy
    static_summary: str
    search_attributes: TypedSearchAttributes
