"""The image and the compose file are of the shape that the documents promise."""

import ast
import re
import tomllib
from pathlib import Path
from typing import Any, cast

import yaml

from environment import secret_settings
from settings import ApiSettings, Settings, SetupSettings, WorkerSettings, kinds_of_settings
from tests.support.repository import ROOT, read

TOLD: dict[str, type[Settings]] = {
    "setup": SetupSettings,
    "api": ApiSettings,
    "worker": WorkerSettings,
}
# The server of Temporal is its own, without keys. The API's mode is a setting.
NOT_GIVEN = {"temporal_api_key"}
NOT_GIVEN_TO = {"api": {"stripe_api_key"}}
SECRETS_FILE = "deploy/docker-compose.secrets.yml"


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


def given_to(name: str) -> set[str]:
    """The settings that a container is to be given: those of its process, and no other's."""
    wanted = TOLD[name].model_fields.keys() - NOT_GIVEN - NOT_GIVEN_TO.get(name, set())
    return {setting.upper() for setting in wanted}


def secrets_given_to(name: str) -> set[str]:
    return given_to(name) & {one.upper() for one in secret_settings(TOLD[name])}


def test_every_setting_is_given_by_compose() -> None:
    for name in TOLD:
        assert set(services()[name]["environment"]) == given_to(name), name
    assert {Settings, *TOLD.values()} == set(kinds_of_settings())


def test_no_container_of_compose_has_the_secrets_of_another() -> None:
    api, worker = (services()[name]["environment"] for name in ("api", "worker"))
    assert api.keys() & {"STRIPE_API_KEY", "VAPI_API_KEY", "SLACK_WEBHOOK_URL"} == set()
    assert worker.keys() & {"STRIPE_WEBHOOK_SECRET", "VAPI_WEBHOOK_SECRET"} == set()
    secrets = set[str]().union(*(secrets_given_to(name) for name in TOLD))
    for name, one in services().items():
        expected = secrets_given_to(name) if name in TOLD else set()
        assert one.get("environment", {}).keys() & secrets == expected, name


def test_each_container_can_be_given_its_secrets_as_files_and_no_others() -> None:
    overlay = cast("dict[str, Any]", yaml.safe_load(read(SECRETS_FILE)))
    assert overlay["services"].keys() == TOLD.keys()
    for name, one in overlay["services"].items():
        mounted = dict.fromkeys(secrets_given_to(name), "")
        for setting in secrets_given_to(name):
            file = setting.lower().replace("_", "-")
            mounted[f"{setting}_FILE"] = f"/run/secrets/{file}"
        assert one["environment"] == mounted, name
        assert {f"/run/secrets/{file}" for file in one["secrets"]} == set(mounted.values()) - {""}
    mounts = {file for one in overlay["services"].values() for file in one["secrets"]}
    assert overlay["secrets"] == {file: {"file": f"./secrets/{file}"} for file in mounts}


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
    for module in (*commands, "worker.py", "settings.py", "wiring.py", "api/__main__.py"):
        for statement in ast.parse(read(module)).body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in statement.names}
                assert "devstack" not in f"{getattr(statement, 'module', '')} {names}", module


def test_the_changelog_image_and_api_have_the_version_of_the_project() -> None:
    version = project()["version"]
    assert f"## [{version}]" in read("CHANGELOG.md")
    assert services()["api"]["image"] == f"callwallet:{version}"
    assert f'version="{version}"' in read("api/app.py")
