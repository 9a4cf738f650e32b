"""The image and the compose file are of the shape that the documents promise."""

import ast
import re
import tomllib
from pathlib import Path
from typing import Any, cast

import yaml

from tests.support.repository import ROOT, read
from wiring import Settings


def project() -> dict[str, Any]:
    return cast("dict[str, Any]", tomllib.loads(read("pyproject.toml"))["project"])


def compose() -> dict[str, Any]:
    return cast("dict[str, Any]", yaml.safe_load(read("docker-compose.yml")))


def services() -> dict[str, dict[str, Any]]:
    return cast("dict[str, dict[str, Any]]", compose()["services"])


def names_in_template(template: str) -> set[str]:
    return set(re.findall(r"\$\{([A-Z_]+)", template))


def test_the_compose_file_has_the_shape_of_the_service() -> None:
    assert services().keys() == {
        "postgres", "temporal-postgres", "temporal-schema", "temporal", "temporal-ui",
        "setup", "api", "worker", "prometheus", "grafana",
    }  # fmt: skip
    asked_for = {name for name, one in services().items() if "profiles" in one}
    assert asked_for == {"prometheus", "grafana"}
    for service in services().values():
        assert service.keys() & {"image", "build"}
        assert service.get("depends_on", {}).keys() <= services().keys()


def test_temporal_and_its_tools_are_of_one_version() -> None:
    images = {
        name: one["image"].partition(":")
        for name, one in services().items()
        if one["image"].startswith("temporalio/")
    }
    assert {tag for name, (_, _, tag) in images.items() if name != "temporal-ui"} == {"1.32.0"}
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", tag) for _, _, tag in images.values())


def test_one_shot_services_end_before_others_start() -> None:
    for name, one in services().items():
        for needed, how in one.get("depends_on", {}).items():
            ends = needed in ("setup", "temporal-schema")
            wanted = "service_completed_successfully" if ends else "service_healthy"
            assert how["condition"] == wanted, name
            assert ends or "healthcheck" in services()[needed]


def test_every_port_is_published_on_this_machine_only() -> None:
    for one in services().values():
        assert all(port.startswith("127.0.0.1:") for port in one.get("ports", []))


def test_our_containers_are_confined() -> None:
    for name in ("setup", "api", "worker", "temporal", "temporal-schema", "prometheus", "grafana"):
        one = services()[name]
        assert one["read_only"] is True
        assert one["cap_drop"] == ["ALL"]
    for one in services().values():
        assert one["security_opt"] == ["no-new-privileges:true"]


def test_every_setting_is_given_by_compose() -> None:
    given = set(services()["setup"]["environment"])
    assert given == {name.upper() for name in Settings.model_fields}


def test_only_setup_is_given_the_owner_of_the_tables() -> None:
    owner = "callwallet:${POSTGRES_PASSWORD:?set it in .env}@"
    know = {name for name, one in services().items() if owner in str(one.get("environment"))}
    assert know == {"setup"}
    for name in ("api", "worker"):
        environment = services()[name]["environment"]
        assert "DATABASE_OWNER_URL" not in environment
        assert "//callwallet_service:${POSTGRES_SERVICE_PASSWORD:" in environment["DATABASE_URL"]


def test_every_variable_of_compose_is_in_the_example() -> None:
    example = set(re.findall(r"^#?([A-Z_]+)=", read(".env.example"), re.MULTILINE))
    assert names_in_template(read("docker-compose.yml")) == example


def test_a_secret_is_never_committed() -> None:
    assert ".env" in read(".gitignore").split()
    required = re.findall(r"^([A-Z_]+)=(.*)$", read(".env.example"), re.MULTILINE)
    assert required
    assert all(value == "" for _, value in required)
    wanted = re.findall(r"\$\{([A-Z_]+):\?", read("docker-compose.yml"))
    assert {name for name, _ in required} == set(wanted)
    files = [Path(one["file"]) for one in compose()["secrets"].values()]
    assert {str(file.parent) for file in files} == {"secrets"}
    assert "secrets/" in read(".gitignore").split()


def test_the_image_is_small_locked_and_not_run_by_root() -> None:
    dockerfile = read("Dockerfile")
    users = re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE)
    assert users
    assert users[-1].partition(":")[0] not in ("root", "0")
    assert "--require-hashes -r requirements.lock" in dockerfile
    assert "HEALTHCHECK" in dockerfile
    assert dockerfile.count("FROM python:3.13-slim") == dockerfile.count("FROM ") == 2


def test_the_image_holds_everything_but_the_offline_world() -> None:
    allowed = set(re.findall(r"^!(\S+)", read(".dockerignore"), re.MULTILINE))
    setuptools = tomllib.loads(read("pyproject.toml"))["tool"]["setuptools"]
    packages = {name.rstrip("*") for name in setuptools["packages"]["find"]["include"]}
    modules = {f"{name}.py" for name in setuptools["py-modules"]}
    assert allowed == (packages - {"devstack"}) | modules | {"requirements.lock"}


def test_the_image_has_what_it_imports() -> None:
    """The command imports the offline world where it is used; the service never does."""
    commands = (str(file.relative_to(ROOT)) for file in (ROOT / "cli").rglob("*.py"))
    for module in (*commands, "worker.py", "wiring.py", "api/__main__.py"):
        for statement in ast.parse(read(module)).body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in statement.names}
                assert "devstack" not in f"{getattr(statement, 'module', '')} {names}", module


def test_the_changelog_image_and_api_have_the_version_of_the_project() -> None:
    version = project()["version"]
    assert f"## [{version}]" in read("CHANGELOG.md")
    assert services()["api"]["image"] == f"callwallet:{version}"
    assert f'version="{version}"' in read("api/app.py")
