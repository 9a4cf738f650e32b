"""Prometheus and Grafana in the compose file: what they may, and where they find what they need."""

import re
from typing import Any

import pytest
import yaml

from tests.support.promql import DEPLOY

COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
CONFIG: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
OURS = ("prometheus", "grafana")


def job(name: str) -> dict[str, Any]:
    [found] = [one for one in CONFIG["scrape_configs"] if one["job_name"] == name]
    return dict(found)


@pytest.mark.parametrize("name", OURS)
def test_the_image_is_of_one_version(name: str) -> None:
    assert re.fullmatch(r"\w+/\w+:v?\d+\.\d+\.\d+", SERVICES[name]["image"])


@pytest.mark.parametrize("name", OURS)
def test_the_port_on_this_machine_can_be_changed(name: str) -> None:
    [port] = SERVICES[name]["ports"]
    assert re.fullmatch(rf"127\.0\.0\.1:\${{{name.upper()}_PUBLISHED_PORT:-\d+}}:\d+", port)


@pytest.mark.parametrize("name", OURS)
def test_only_its_own_volume_can_be_written(name: str) -> None:
    writable = [volume for volume in SERVICES[name]["volumes"] if not volume.endswith(":ro")]
    assert [volume.split(":")[0] for volume in writable] == [name]
    assert name in COMPOSE["volumes"]


@pytest.mark.parametrize("name", OURS)
def test_a_secret_is_a_file_and_no_setting(name: str) -> None:
    assert set(SERVICES[name]["secrets"]) <= COMPOSE["secrets"].keys()
    given = SERVICES[name].get("environment", {})
    assert not [one for one in given if "PASSWORD" in one and not one.endswith("__FILE")]


def test_prometheus_shows_an_operators_key_to_the_api_and_to_nobody_else() -> None:
    [secret] = SERVICES["prometheus"]["secrets"]
    assert job("callwallet-api")["authorization"] == {"credentials_file": f"/run/secrets/{secret}"}
    others = [one for one in CONFIG["scrape_configs"] if one["job_name"] != "callwallet-api"]
    assert not [one for one in others if "authorization" in one]


def test_grafana_has_its_password_from_a_file() -> None:
    [secret] = SERVICES["grafana"]["secrets"]
    given = SERVICES["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD__FILE"]
    assert given == f"/run/secrets/{secret}"


@pytest.mark.parametrize(
    ("name", "service", "setting"),
    [
        ("callwallet-api", "api", "API_PORT"),
        ("callwallet-worker", "worker", "WORKER_METRICS_ADDRESS"),
        ("temporal-server", "temporal", "PROMETHEUS_ENDPOINT"),
    ],
)
def test_each_is_scraped_where_it_listens(name: str, service: str, setting: str) -> None:
    [where] = job(name)["dns_sd_configs"]
    assert where["names"] == [service]
    listens = SERVICES[service]["environment"][setting]
    assert str(where["port"]) == listens.rpartition(":")[2]
    assert "metrics_path" not in job(name)


def test_the_files_that_operators_must_make_are_in_the_documents() -> None:
    operations = (DEPLOY.parent / "docs/operations.md").read_text()
    section = operations.split("## Monitoring with Prometheus and Grafana")[1].split("\n## ")[0]
    for one in COMPOSE["secrets"].values():
        assert f"> {one['file'].removeprefix('./')}" in section
    assert "deploy/prometheus/alertmanagers.yml" in section
    [found] = CONFIG["alerting"]["alertmanagers"][0]["file_sd_configs"]
    assert found["files"] == ["/etc/prometheus/alertmanagers*.yml"]
