"""Grafana's dashboard and what provisions it: whole, legible, and about what there is."""

import re
from itertools import combinations
from typing import Any

import pytest
import yaml

from billing.monitoring import WINDOWS
from tests.support.promql import DEPLOY, dashboard, metrics_in, panels, targets, without_variables

ROWS = [
    "Is it well", "Money in and out", "Webhooks and inbox", "Parked work",
    "Rates by window and organisation", "Reconciliation and audit", "Recharges", "Gate",
    "Temporal worker",
]  # fmt: skip
COLUMNS = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
DRAWN = [panel for panel in panels() if panel["type"] != "row"]


def titled(panel: dict[str, Any]) -> str:
    return str(panel["title"])


def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
    at = panel["gridPos"]
    return {
        (column, line)
        for column in range(at["x"], at["x"] + at["w"])
        for line in range(at["y"], at["y"] + at["h"])
    }


def provisioned(path: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((DEPLOY / "grafana/provisioning" / path).read_text())
    return content


def test_it_goes_from_whether_all_is_well_to_the_worker() -> None:
    rows = [panel for panel in panels() if panel["type"] == "row"]
    assert [titled(row) for row in rows] == ROWS
    assert [row["gridPos"]["y"] for row in rows] == sorted(row["gridPos"]["y"] for row in rows)


def test_no_two_panels_lie_on_each_other_and_none_hangs_over() -> None:
    for one, other in combinations(panels(), 2):
        assert not cells(one) & cells(other), (titled(one), titled(other))
    assert all(0 <= column < COLUMNS for panel in panels() for column, _ in cells(panel))


def test_every_line_of_panels_is_full() -> None:
    filled = set[tuple[int, int]]().union(*(cells(panel) for panel in panels()))
    lines = {line for _, line in filled}
    assert lines == set(range(len(lines)))
    assert len(filled) == COLUMNS * len(lines)


def test_panels_are_told_apart_by_number_and_title() -> None:
    for key in ("id", "title"):
        values = [panel[key] for panel in panels()]
        assert len(set(values)) == len(values)


@pytest.mark.parametrize("panel", DRAWN, ids=titled)
def test_a_panel_says_what_it_shows_and_in_what_unit(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith((".", "`"))
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["unit"]
    steps = defaults["thresholds"]["steps"]
    assert steps[0]["value"] is None
    bounds = [step["value"] for step in steps[1:]]
    assert bounds == sorted(bounds)


def test_every_query_goes_to_the_data_source_that_is_chosen() -> None:
    assert all(panel["datasource"] == SOURCE for panel in DRAWN)
    assert all(one["datasource"] == SOURCE for _, one in targets())
    lists = [*dashboard()["annotations"]["list"], *dashboard()["templating"]["list"]]
    assert all(one["datasource"] == SOURCE for one in lists if "datasource" in one)


@pytest.mark.parametrize(("title", "target"), targets())
def test_a_query_is_promql_in_variables_that_there_are(title: str, target: dict[str, Any]) -> None:
    assert metrics_in(target["expr"])
    assert "$" not in without_variables(target["expr"]), title


def test_a_rate_is_over_the_interval_that_the_range_of_time_wants() -> None:
    """A fixed one shows nothing when it is shorter than two scrapes."""
    for title, target in targets():
        for function, over in re.findall(r"\b(rate|increase)\([^\[]*\[([^\]]+)\]", target["expr"]):
            fixed = function == "increase" and over == "1h"
            assert over == "$__rate_interval" or fixed, title


def test_the_windows_to_choose_from_are_those_that_are_measured() -> None:
    variables = {one["name"]: one for one in dashboard()["templating"]["list"]}
    assert variables.keys() == {"datasource", "window", "org_id"}
    offered = variables["window"]["query"].split(",")
    assert offered == list(WINDOWS)
    assert [one["value"] for one in variables["window"]["options"]] == offered


def test_it_is_found_again_when_it_is_loaded_anew() -> None:
    assert dashboard()["uid"] == "callwallet"
    assert "id" not in dashboard()
    [source] = provisioned("datasources/prometheus.yml")["datasources"]
    assert (source["uid"], source["type"]) == ("callwallet-prometheus", "prometheus")


def test_grafana_finds_prometheus_and_the_dashboard_where_compose_puts_them() -> None:
    compose = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text())
    grafana = compose["services"]["grafana"]
    mounted = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    [provider] = provisioned("dashboards/callwallet.yml")["providers"]
    assert mounted["./deploy/grafana/dashboards"] == provider["options"]["path"]
    assert mounted["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/callwallet.json"
    [source] = provisioned("datasources/prometheus.yml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == scrape_interval()


def scrape_interval() -> str:
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    return str(config["global"]["scrape_interval"])
