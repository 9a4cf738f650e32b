"""Prometheus' alert rules: that they are well formed, lead somewhere, and read what there is."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml

from billing.alerts.alert import AlertLevel
from billing.alerts.backlogs import INBOX_LATE_SECONDS, NEVER_ALERTED
from billing.alerts.rates import HOUR_MARK, QUARTER_MARK
from billing.parking.parked import MISSING, Parked
from billing.platform_rules import PlatformRules
from tests.support.promql import DEPLOY, ITS_OWN, metrics_in, rules, without_variables

ROOT = DEPLOY.parent
OPERATIONS = (ROOT / "docs/operations.md").read_text()
CASES = Path(__file__).parent / "alerts.promtool.yml"
RULES = {rule["alert"]: rule for rule in rules()}


def headings(document: str) -> set[str]:
    """What a link can lead to, as code hosts make it of headings."""
    titles = re.findall(r"^#+ (.+)$", document, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_no_two_rules_have_one_name() -> None:
    assert len(RULES) == len(rules()) > 30


@pytest.mark.parametrize("name", RULES)
def test_a_rule_says_how_bad_it_is_what_it_is_and_what_to_do(name: str) -> None:
    rule = RULES[name]
    assert rule.keys() - {"for"} == {"alert", "expr", "labels", "annotations"}
    assert AlertLevel(rule["labels"]["severity"])
    told = rule["annotations"]
    assert told.keys() == {"summary", "description", "runbook_url"}
    assert re.fullmatch(r"\d+[mh]", rule.get("for", "1m"))
    document, _, section = told["runbook_url"].partition("#")
    assert document == "docs/operations.md"
    assert section in headings(OPERATIONS)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_tells_only_labels_that_its_expression_leaves(name: str) -> None:
    rule = RULES[name]
    named = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    used = metrics_in(rule["expr"])
    left = set[str]().union(*(one.labels for one in used))
    scraped = {"instance", "job"} if {one.name for one in used} <= ITS_OWN else set()
    assert named <= left | scraped


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_a_condition_and_not_a_figure(name: str) -> None:
    """An expression that always has a value would always fire."""
    assert _is_condition(promql.parse(RULES[name]["expr"]))


def test_the_levels_of_rules_are_explained_where_levels_are() -> None:
    section = OPERATIONS.split("## Alerts")[1].split("\n## ")[0]
    used = {rule["labels"]["severity"] for rule in rules()}
    assert used <= set(re.findall(r"^\| `([a-z]+)`", section, re.MULTILINE))
    assert {"medium", "high", "critical"} <= used


def test_every_rule_has_a_made_up_day_on_which_it_fires() -> None:
    cases = CASES.read_text()
    fired = set(re.findall(r'alertname="(\w+)"', cases))
    shown = {
        test["alertname"]
        for group in yaml.safe_load(cases)["tests"]
        for test in group.get("alert_rule_test", ())
        if test["exp_alerts"]
    }
    assert fired | shown == RULES.keys()


def test_nobody_is_asked_for_what_mends_itself_or_is_a_customers() -> None:
    [left_out] = re.findall(r'reason!~"([a-z_|]+)"', RULES["CallwalletPersonNeeded"]["expr"])
    section = OPERATIONS.split("## What a reason means")[1].split("\n### ")[0]
    reasons = set(re.findall(r"^\| `([a-z_]+)`", section, re.MULTILINE))
    healing = {reason for reason in reasons if Parked(reason, "").heals}
    # What a provider does not know after four hours either needs a person after all.
    assert healing > MISSING
    assert set(left_out.split("|")) == NEVER_ALERTED | (healing - MISSING)


@pytest.mark.parametrize(
    ("name", "bound"),
    [
        ("CallwalletSuccessRateLow", QUARTER_MARK / 100),
        ("CallwalletSuccessRateSlips", HOUR_MARK / 100),
        ("CallwalletInboxLate", INBOX_LATE_SECONDS),
        ("CallwalletMoneyParked", PlatformRules().parked_money_alert_minor),
    ],
)
def test_a_rule_draws_the_line_where_slacks_alarm_does(name: str, bound: Decimal | int) -> None:
    compared = re.findall(r"[<>] ([\d.]+)", RULES[name]["expr"])
    assert Decimal(compared[0]) == bound


def test_prometheus_is_given_the_rules_and_scrapes_what_they_ask_for() -> None:
    config: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    assert config["rule_files"] == ["/etc/prometheus/alerts.yml"]
    scraped = {one["job_name"] for one in config["scrape_configs"]}
    for rule in rules():
        for jobs in re.findall(r'job=~?"([^"]+)"', rule["expr"]):
            wanted = {job for job in scraped if re.fullmatch(jobs, job)}
            assert wanted, jobs
    assert {"callwallet-api", "callwallet-worker"} <= scraped


def test_no_rule_has_a_variable_of_the_dashboard() -> None:
    for rule in rules():
        assert without_variables(rule["expr"]) == rule["expr"]


def _is_condition(expression: promql.Expr) -> bool:
    match expression:
        case promql.BinaryExpr():
            operator = str(expression.op)
            if operator in ("and", "unless"):
                return _is_condition(expression.lhs)
            return operator in ("==", "!=", "<", ">", "<=", ">=")
        case promql.ParenExpr():
            return _is_condition(expression.expr)
        case promql.Call():
            return expression.func.name == "absent"
    return False
