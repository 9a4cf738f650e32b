"""The worker's metrics for Prometheus. They go through Temporal's meter, to share its endpoint.

The SDK adds the labels `activity_type`, `task_queue`, `namespace` and `service_name`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable

from temporalio import activity
from temporalio.common import MetricMeter

from billing.inbox.webhook_event import Source
from billing.ledger.entry import Operation

# The exporter adds `_total` to the name of a counter.
POSTINGS = "callwallet_postings"
# It is created without a unit, for the exporter would add that to the name as well (`_s`).
WEBHOOK_TO_ENTRY = "callwallet_webhook_to_entry_seconds"
BUCKETS = {
    WEBHOOK_TO_ENTRY: (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
}


def posted(operations: Iterable[Operation]) -> None:
    """Count money operations by kind and outcome."""
    counts = Counter((one.transfer.kind, one.posting.outcome) for one in operations)
    if not counts:
        return
    counter = _meter().create_counter(POSTINGS, "Money operations by their answer")
    for (kind, outcome), count in counts.items():
        counter.add(count, {"kind": str(kind), "outcome": str(outcome)})


def entered(ages: Iterable[tuple[Source, float]]) -> None:
    """Record how long webhooks took from their receipt to the commit that has settled them."""
    by_source = defaultdict[Source, list[float]](list)
    for source, seconds in ages:
        by_source[source].append(seconds)
    for source, all_seconds in by_source.items():
        histogram = (
            _meter()
            .create_histogram_float(WEBHOOK_TO_ENTRY, "From a webhook's receipt to its effect")
            .with_additional_attributes({"source": str(source)})
        )
        for seconds in all_seconds:
            # An age is negative if a clock was set back. That must not fail what is committed.
            histogram.record(max(seconds, 0.0))


def _meter() -> MetricMeter:
    """Return the meter of the activity that runs; outside of one, a meter that counts nothing."""
    return activity.metric_meter() if activity.in_activity() else MetricMeter.noop
