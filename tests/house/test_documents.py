"""What the documents name is there: commands, endpoints, files, links, decisions."""

import re
from typing import Any, cast

from typer.core import TyperGroup
from typer.main import get_command

import cli
from api.app import create_app
from api.services import TwilioAccounts
from billing.platform_rules import PlatformRules
from tests.support.repository import DOCUMENTS, ROOT, read, tracked


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
        rules=PlatformRules(),
        stripe_secrets=(),
        vapi_secrets=(),
        twilio=TwilioAccounts(),
    )
    return cast("dict[str, dict[str, Any]]", app.openapi()["paths"])


def test_every_make_command_in_the_documents_is_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", read("Makefile"), re.MULTILINE))
    for document in DOCUMENTS:
        named = re.findall(r"(?:^|`)make ([a-z-]+)", read(document), re.MULTILINE)
        assert set(named) <= targets, document
    assert {"demo", "test"} <= set(re.findall(r"^make ([a-z]+)", read("README.md"), re.MULTILINE))


def test_every_callwallet_command_in_the_documents_exists() -> None:
    known = {command.split()[0] for command in commands()} | commands()
    for document in (*DOCUMENTS, "CHANGELOG.md", "docker-compose.yml", "Makefile"):
        for named in re.findall(r"`callwallet ([a-z-]+)", read(document)):
            assert named in known, f"{document}: callwallet {named}"
        for named in re.findall(r"(?:exec api|BIN\)/)\s*callwallet ([a-z-]+)", read(document)):
            assert named in known, f"{document}: callwallet {named}"


def test_every_endpoint_in_the_documents_is_in_the_api() -> None:
    known = {re.sub(r"{[^}]*}", "*", path) for path in paths()}
    for document in DOCUMENTS:
        named = re.findall(
            r"(?:(?:GET|POST|PUT|DELETE) (?:\$API)?|\$API)(/[\w/{}.-]+)", read(document)
        )
        for path in named:
            wanted = re.sub(r"{[^}]*}|(?<=organizations/)acme", "*", path)
            assert wanted in known, f"{document}: {path}"


def test_every_link_between_documents_leads_somewhere() -> None:
    for document in tracked("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / document).read_text()):
            assert (ROOT / document.parent / target).exists(), f"{document.name}: {target}"


def test_a_decision_is_numbered_once_and_listed() -> None:
    files = sorted((ROOT / "docs/decisions").glob("0*.md"))
    assert [int(file.name[:4]) for file in files] == list(range(1, len(files) + 1))
    listed = read("docs/decisions/README.md")
    for number, file in enumerate(files, 1):
        assert f"({file.name})" in listed
        assert file.read_text().startswith(f"# {number}. ")
