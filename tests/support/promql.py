"""Read which metrics the alert rules and the dashboard use."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import promql_parser as promql
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
# Values for Grafana's variables, so that expressions can be parsed.
_GRAFANA = {"$__rate_interval": "5m", "$window": "15m", "$org_id": ".*"}
# The metrics that Prometheus makes itself.
ITS_OWN = frozenset({"up", "ALERTS"})


@dataclass(frozen=True)
class MetricUse:
    """A metric that an expression reads, and the labels by which it selects or groups."""

    name: str
    labels: frozenset[str]


def rules() -> list[dict[str, Any]]:
    """Read every alert rule."""
    groups = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    text = (DEPLOY / "grafana/dashboards/callwallet.json").read_text()
    return cast("dict[str, Any]", json.loads(text))


def panels() -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", dashboard()["panels"])


def targets() -> list[tuple[str, dict[str, Any]]]:
    """Read every query of the dashboard, with the title of its panel."""
    return [(panel["title"], one) for panel in panels() for one in panel.get("targets", ())]


def without_variables(expression: str) -> str:
    """Return an expression with values for Grafana's variables; an unknown variable stays."""
    for variable, value in _GRAFANA.items():
        expression = expression.replace(variable, value)
    return expression


def metrics_in(expression: str) -> set[MetricUse]:
    """Read which metrics an expression uses. Raise ValueError if it is no PromQL."""
    found = set[MetricUse]()
    _walk(promql.parse(without_variables(expression)), frozenset(), found)
    return found


def metrics_in_use() -> set[MetricUse]:
    """Return all metrics that the rules and the dashboard use."""
    expressions = [rule["expr"] for rule in rules()] + [one["expr"] for _, one in targets()]
    return set[MetricUse]().union(*(metrics_in(one) for one in expressions))


def exported_names(text: str) -> dict[str, frozenset[str]]:
    """Read from a scrape the name of each series, and all labels that it has there."""
    found = dict[str, frozenset[str]]()
    for name, labels in re.findall(r"^([a-z_]+)(?:\{(.*)\})? \S+$", text, re.MULTILINE):
        found[name] = found.get(name, frozenset()) | set(re.findall(r'(\w+)="', labels))
    return found


def _walk(expression: promql.Expr, grouped: frozenset[str], found: set[MetricUse]) -> None:
    if isinstance(expression, promql.AggregateExpr) and expression.modifier:
        grouped |= set(expression.modifier.labels)
    if isinstance(expression, promql.VectorSelector):
        chosen = {matcher.name for matcher in expression.matchers.matchers}
        found.add(MetricUse(expression.name or "", grouped | chosen))
    for inner in _inside(expression):
        _walk(inner, grouped, found)


def _inside(expression: promql.Expr) -> Iterator[promql.Expr]:
    match expression:
        case promql.BinaryExpr():
            yield from (expression.lhs, expression.rhs)
        case promql.Call():
            yield from expression.args
        case promql.MatrixSelector():
            yield expression.vector_selector
        case (
            promql.AggregateExpr() | promql.ParenExpr() | promql.SubqueryExpr() | promql.UnaryExpr()
        ):
            yield expression.expr
