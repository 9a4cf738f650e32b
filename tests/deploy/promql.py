"""What the rules and the dashboard ask Prometheus for."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import promql_parser as promql
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
# What Grafana puts in for its variables, near enough to be parsed.
_GRAFANA = {"$__rate_interval": "5m", "$window": "15m", "$org_id": ".*"}
# Prometheus' own.
ITS_OWN = frozenset({"up", "ALERTS"})


@dataclass(frozen=True)
class Asked:
    """A metric that an expression reads, and the labels by which it chooses or groups."""

    name: str
    labels: frozenset[str]


def rules() -> list[dict[str, Any]]:
    """Every alert rule."""
    groups = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    text = (DEPLOY / "grafana/dashboards/callwallet.json").read_text()
    return cast("dict[str, Any]", json.loads(text))


def panels() -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", dashboard()["panels"])


def targets() -> list[tuple[str, dict[str, Any]]]:
    """Every query of the dashboard, with the title of its panel."""
    return [(panel["title"], one) for panel in panels() for one in panel.get("targets", ())]


def without_variables(expression: str) -> str:
    """Put in what Grafana would; what is left with a dollar is a variable that nobody knows."""
    for variable, value in _GRAFANA.items():
        expression = expression.replace(variable, value)
    return expression


def asked(expression: str) -> set[Asked]:
    """Read what an expression asks for. Raises ValueError for what is no PromQL."""
    found = set[Asked]()
    _walk(promql.parse(without_variables(expression)), frozenset(), found)
    return found


def everything_asked() -> set[Asked]:
    """All that rules and dashboard ask for."""
    expressions = [rule["expr"] for rule in rules()] + [one["expr"] for _, one in targets()]
    return set[Asked]().union(*(asked(one) for one in expressions))


def exported_names(text: str) -> dict[str, frozenset[str]]:
    """Read a scrape: the name of each series, and all the labels that it has been seen with."""
    found = dict[str, frozenset[str]]()
    for name, labels in re.findall(r"^([a-z_]+)(?:\{(.*)\})? \S+$", text, re.MULTILINE):
        found[name] = found.get(name, frozenset()) | set(re.findall(r'(\w+)="', labels))
    return found


def _walk(expression: promql.Expr, grouped: frozenset[str], found: set[Asked]) -> None:
    if isinstance(expression, promql.AggregateExpr) and expression.modifier:
        grouped |= set(expression.modifier.labels)
    if isinstance(expression, promql.VectorSelector):
        chosen = {matcher.name for matcher in expression.matchers.matchers}
        found.add(Asked(expression.name or "", grouped | chosen))
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
