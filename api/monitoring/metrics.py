"""The counters of the API, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.registry import Collector

_ACCEPT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """The counters of one API process, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.webhooks = Counter(
            "callwallet_webhooks",
            "Webhooks by what became of them",
            ("source", "outcome"),
            registry=self._registry,
        )
        self.accept_seconds = Histogram(
            "callwallet_webhook_accept_seconds",
            "From a verified webhook to its durable write",
            buckets=_ACCEPT_BUCKETS,
            registry=self._registry,
        )
        self.gate = Counter(
            "callwallet_gate",
            "Calls that asked to start, by the answer",
            ("answer",),
            registry=self._registry,
        )
        self.gate_seconds = Histogram(
            "callwallet_gate_seconds",
            "From a verified assistant-request to its answer",
            buckets=_ACCEPT_BUCKETS,
            registry=self._registry,
        )

    def render(self, gauges: Collector) -> bytes:
        """Return all counters and the gauges of this moment in Prometheus' text format."""
        return generate_latest(self._registry) + generate_latest(gauges)
