"""The house around the code: what the documents, the image and the compose file say is so."""

import ast
import re
import shlex
import subprocess
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from typer.core import TyperGroup
from typer.main import get_command

import cli
from api.app import create_app
from api.services import TwilioAccounts
from billing.alert import AlarmKind
from billing.audit import Check
from billing.call import CallState
from billing.errors import (
    BillingError,
    CallMissing,
    CallNotEnded,
    ListingStuck,
    MessageMissing,
    PaymentMissing,
)
from billing.gate import GateRules
from billing.message import MessageState
from billing.parking import APPROVAL, FAULT, Parked
from billing.payment import Mismatch
from billing.recharge import HoldReason
from wiring import Settings

ROOT = Path(__file__).parent.parent
OPERATIONS = "docs/operations.md"
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/architecture.md", OPERATIONS)
LONGEST_FILE = 300
# The person's part of the environment in operations.md; the rest are settings.
SHELL_VARIABLES = {"API", "KEY", "TEMPORAL_UI_URL"}


def read(path: str) -> str:
    return (ROOT / path).read_text()


def tracked(pattern: str) -> list[Path]:
    try:
        listed = subprocess.run(
            ["git", "ls-files", pattern], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split() if (ROOT / name).exists()]


def project() -> dict[str, Any]:
    return cast("dict[str, Any]", tomllib.loads(read("pyproject.toml"))["project"])


def compose() -> dict[str, Any]:
    return cast("dict[str, Any]", yaml.safe_load(read("docker-compose.yml")))


def services() -> dict[str, dict[str, Any]]:
    return cast("dict[str, dict[str, Any]]", compose()["services"])


def commands() -> set[str]:
    """Every command of `callwallet`, as it is typed."""
    group = cast("TyperGroup", get_command(cli.app))
    inner = {
        f"{name} {sub}"
        for name, command in group.commands.items()
        if isinstance(command, TyperGroup)
        for sub in command.commands
    }
    return {name for name, one in group.commands.items() if not isinstance(one, TyperGroup)} | inner


def paths() -> dict[str, dict[str, Any]]:
    nothing = cast("Any", None)
    app = create_app(
        nothing,
        nothing,
        stripe_secrets=(),
        vapi_secrets=(),
        twilio=TwilioAccounts(),
        return_origins=frozenset(),
        adjustment_approval_minor=0,
        own_workflow_rate=1.0,
        gate_rules=GateRules(),
    )
    return cast("dict[str, dict[str, Any]]", app.openapi()["paths"])


def names_in_template(template: str) -> set[str]:
    return set(re.findall(r"\$\{([A-Z_]+)", template))


def queries_in(document: str) -> set[str]:
    """Every list filter: of commands, of the table of views, and of the links in it."""
    links = re.findall(r"\]\((http[^)]*/workflows\?[^)]*)\)", document)
    return {
        *re.findall(r"--query '([^']+)'", document),
        *re.findall(r"^\| [^|]+ \| `([^`]+)` \| \[`\?query", document, re.MULTILINE),
        *chain.from_iterable(parse_qs(urlsplit(link).query)["query"] for link in links),
    }


# ---- the compose file and the image


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
    given = set(services()["api"]["environment"])
    assert given == {name.upper() for name in Settings.model_fields}


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
    commands = (str(file.relative_to(ROOT)) for file in (ROOT / "cli").glob("*.py"))
    for module in (*commands, "worker.py", "wiring.py", "api/__main__.py"):
        for statement in ast.parse(read(module)).body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in statement.names}
                assert "devstack" not in f"{getattr(statement, 'module', '')} {names}", module


# ---- the documents


def test_every_make_command_in_the_documents_is_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z]+):.*## ", read("Makefile"), re.MULTILINE))
    for document in DOCUMENTS:
        named = re.findall(r"(?:^|`)make ([a-z]+)", read(document), re.MULTILINE)
        assert set(named) <= targets, document
    assert {"demo", "test"} <= set(re.findall(r"^make ([a-z]+)", read("README.md"), re.MULTILINE))


def test_every_callwallet_command_in_the_documents_exists() -> None:
    known = {command.split()[0] for command in commands()} | commands()
    for document in (*DOCUMENTS, "CHANGELOG.md", "docker-compose.yml", "Makefile"):
        for named in re.findall(r"`callwallet ([a-z]+)", read(document)):
            assert named in known, f"{document}: callwallet {named}"
        for named in re.findall(r"(?:exec api|BIN\)/)\s*callwallet ([a-z]+)", read(document)):
            assert named in known, f"{document}: callwallet {named}"


def test_every_callwallet_command_line_for_operators_can_be_typed() -> None:
    """Its options too: what cannot be is a usage error, before anything is done."""
    blocks = re.findall(r"```sh\n(.*?)```", read(OPERATIONS), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    typed = [shlex.split(line, comments=True) for line in lines if line.startswith("callwallet ")]
    assert len(typed) > 10
    for _, *words in typed:
        command: Any = get_command(cli.app)
        while isinstance(command, TyperGroup):
            command = command.commands[words.pop(0)]
        command.make_context(command.name, words)


def test_every_endpoint_in_the_documents_is_in_the_api() -> None:
    known = {re.sub(r"{[^}]*}", "*", path) for path in paths()}
    for document in DOCUMENTS:
        named = re.findall(
            r"(?:(?:GET|POST|PUT|DELETE) (?:\$API)?|\$API)(/[\w/{}.-]+)", read(document)
        )
        for path in named:
            wanted = re.sub(r"{[^}]*}|(?<=organizations/)acme", "*", path)
            assert wanted in known, f"{document}: {path}"


def test_every_reason_to_park_is_explained_to_operators() -> None:
    calls = set(CallState) - {CallState.SETTLED, CallState.DISCARDED}
    messages = {state for state in MessageState if state.waits}
    refusals: set[type[BillingError]] = {
        CallMissing, CallNotEnded, ListingStuck, MessageMissing, PaymentMissing,
    }  # fmt: skip
    codes = {one.code for one in refusals}
    reasons = {*calls, *messages, *Mismatch, *HoldReason, *codes, APPROVAL, FAULT}
    section = read(OPERATIONS).split("## What a reason means")[1].split("\n### ")[0]
    explained = set(re.findall(r"^\| `([a-z_]+)`", section, re.MULTILINE))
    assert explained == {str(reason) for reason in reasons}
    for reason in explained:
        row = next(line for line in section.splitlines() if line.startswith(f"| `{reason}`"))
        assert ("by itself" in row) or not Parked(reason, "").heals, reason


def test_every_check_of_the_audit_is_explained_to_operators() -> None:
    section = read(OPERATIONS).split("## Audit\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
    explained = [name for row in rows for name in re.findall(r"`([a-z_]+)`", row)]
    assert sorted(explained) == sorted(["check", *Check])


def test_every_alarm_is_explained_to_operators() -> None:
    section = read(OPERATIONS).split("\n## Alerts\n")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \| [^|]+ \| `", section, re.MULTILINE)) == set(
        AlarmKind
    )


def test_every_setting_is_explained_to_operators() -> None:
    section = read(OPERATIONS).split("## Settings")[1]
    explained = set(re.findall(r"`([A-Z_]+)`", section))
    assert {name.upper() for name in Settings.model_fields} <= explained
    used = set(re.findall(r"\$([A-Z_]+)", read(OPERATIONS)))
    assert used <= SHELL_VARIABLES


def test_every_link_between_documents_leads_somewhere() -> None:
    for document in tracked("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_changelog_image_and_api_have_the_version_of_the_project() -> None:
    version = project()["version"]
    assert f"## [{version}]" in read("CHANGELOG.md")
    assert services()["api"]["image"] == f"callwallet:{version}"
    assert f'version="{version}"' in read("api/app.py")


def test_a_decision_is_numbered_once_and_listed() -> None:
    files = sorted((ROOT / "docs/decisions").glob("0*.md"))
    assert [int(file.name[:4]) for file in files] == list(range(1, len(files) + 1))
    listed = read("docs/decisions/README.md")
    for number, file in enumerate(files, 1):
        assert f"({file.name})" in listed
        assert file.read_text().startswith(f"# {number}. ")


def test_no_file_is_too_long_to_read() -> None:
    long = {
        str(file.relative_to(ROOT)): lines
        for file in tracked("*.py")
        if file.relative_to(ROOT).parts[0] != "tests"
        and (lines := len(file.read_text().splitlines())) > LONGEST_FILE
    }
    assert not long


# ---- what operators type, on real servers


async def test_every_query_in_the_documents_is_one_that_temporal_takes(temporal: Client) -> None:
    queries = set[str]().union(*(queries_in(read(document)) for document in DOCUMENTS))
    assert 'BillingState="parked"' in queries
    for query in queries:
        assert (await temporal.count_workflows(query)).count >= 0


async def test_every_statement_for_operators_is_one_that_postgresql_takes(
    engine_apart: AsyncEngine,
) -> None:
    statements = re.findall(r"```sql\n(.*?)```", read(OPERATIONS), re.DOTALL)
    assert statements
    async with engine_apart.begin() as connection:
        await connection.exec_driver_sql("INSERT INTO organizations VALUES ('acme', 'Acme')")
        for statement in statements:
            await connection.exec_driver_sql(statement)
