"""Prometheus' gauges of what operators watch. What is away has none."""

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from billing.monitoring import Figures, Rate, RateName, RatesByWindow
from billing.parking.parked_work import ParkedTotal

# The values of a gauge's labels, and its own value.
_Sample = tuple[Sequence[str], float]


class Gauges(Collector):
    """The gauges of one moment. None stands for what did not answer in time."""

    def __init__(
        self,
        figures: Figures | None,
        parked: Sequence[ParkedTotal] | None,
        *,
        database_is_up: bool,
        temporal_is_up: bool,
    ) -> None:
        self._figures = figures
        self._parked = parked
        self._database_is_up = database_is_up
        self._temporal_is_up = temporal_is_up

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges of all that is known."""
        yield _gauge(
            "database_up",
            "Whether PostgreSQL answers this process",
            [],
            [((), self._database_is_up)],
        )
        yield _gauge(
            "temporal_up",
            "Whether Temporal answers this process",
            [],
            [((), self._temporal_is_up)],
        )
        if self._figures is not None:
            yield from _of_database(self._figures)
        if self._parked is not None:
            yield from _of_temporal(self._parked)


def _of_database(figures: Figures) -> Iterator[GaugeMetricFamily]:
    yield from _success(figures)
    yield from _inbox(figures)
    yield _gauge(
        "recharge_attempts",
        "Automatic charges of cards that began in the window, by their state",
        ["state", "window"],
        [((state, "24h"), count) for state, count in figures.recharges.items()],
    )
    yield from _reconciliation(figures)
    yield from _audit(figures)
    yield _gauge(
        "alerts_undelivered",
        "Alerts that wait to be delivered",
        [],
        [((), figures.alerts.waiting)],
    )
    yield _gauge(
        "alerts_oldest_seconds",
        "How long the alert that waits longest has waited",
        [],
        [((), figures.alerts.oldest_seconds)],
    )


def _success(figures: Figures) -> Iterator[GaugeMetricFamily]:
    yield _gauge(
        "success_ratio",
        "Share of calls and webhooks of the window with which all went well",
        ["rate", "window"],
        [((name, window), _ratio(rate)) for name, window, rate in _each(figures.rates)],
    )
    yield _gauge(
        "organization_success_ratio",
        "The same for each organisation that had any in the window",
        ["rate", "window", "org_id"],
        [
            ((name, window, one.org_id), _ratio(rate))
            for one in figures.organizations
            for name, window, rate in _each(one.rates)
            if rate.total
        ],
    )


def _inbox(figures: Figures) -> Iterator[GaugeMetricFamily]:
    yield _gauge(
        "inbox_waiting",
        "Webhooks that are in neither the ledger nor a workflow that waits",
        [],
        [((), sum(one.waiting for one in figures.inbox))],
    )
    yield _gauge(
        "inbox_oldest_seconds",
        "How long the webhook that is due longest has been due",
        [],
        [((), max(one.oldest_seconds for one in figures.inbox))],
    )


def _reconciliation(figures: Figures) -> Iterator[GaugeMetricFamily]:
    yield _gauge(
        "reconciliation_reliability_ratio",
        "Share that was heard of by webhook in seven days",
        ["source"],
        [
            ((one.source,), float(one.reliability_percent / 100))
            for one in figures.reconciliations
            if one.reliability_percent is not None
        ],
    )
    yield _gauge(
        "reconciliation_last_success_timestamp_seconds",
        "When a daily run last succeeded",
        ["source"],
        [
            ((one.source,), one.last_success_at.timestamp())
            for one in figures.reconciliations
            if one.last_success_at is not None
        ],
    )


def _audit(figures: Figures) -> Iterator[GaugeMetricFamily]:
    if figures.audit is not None:
        yield _gauge(
            "audit_flaws",
            "Rows that did not agree at the last audit",
            [],
            [((), figures.audit.flaws)],
        )
        yield _gauge(
            "audit_timestamp_seconds",
            "When the last audit finished",
            [],
            [((), figures.audit.finished_at.timestamp())],
        )


def _of_temporal(parked: Iterable[ParkedTotal]) -> Iterator[GaugeMetricFamily]:
    totals = list(parked)
    yield _gauge(
        "parked",
        "Processes that wait, by their reason",
        ["reason"],
        [((one.reason,), one.count) for one in totals],
    )
    yield _gauge(
        "parked_minor",
        "Money at risk in them, in minor units",
        ["reason", "currency"],
        [
            ((one.reason, money.currency), money.amount_minor)
            for one in totals
            for money in one.at_risk
        ],
    )


def _each(rates: RatesByWindow) -> Iterator[tuple[RateName, str, Rate]]:
    for window, one in rates.items():
        yield RateName.DELIVERY, window, one.delivery
        yield RateName.PROCESSING, window, one.processing
        yield RateName.BILLING, window, one.billing


def _ratio(rate: Rate) -> float:
    return float(rate.percent / 100)


def _gauge(
    name: str, meaning: str, labels: Sequence[str], samples: Iterable[_Sample]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"callwallet_{name}", meaning, labels=labels)
    for values, value in samples:
        family.add_metric([str(one) for one in values], float(value))
    return family
