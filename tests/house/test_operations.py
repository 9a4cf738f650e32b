"""What operators read is all that there is, and what they type is taken."""

import re
import shlex
from dataclasses import fields
from itertools import chain
from typing import Any
from urllib.parse import parse_qs, urlsplit

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from typer.core import TyperGroup
from typer.main import get_command

import cli
from billing import errors
from billing.alerts.alert import AlarmKind
from billing.calls.call import CallState
from billing.ledger.audit import Check
from billing.messages.message import MessageState
from billing.parking.parked import APPROVAL, FAULT, Parked
from billing.payments.payment import Mismatch
from billing.platform_rules import PlatformRules
from billing.recharges.recharge import HoldReason
from settings import kinds_of_settings
from tests.support.repository import DOCUMENTS, OPERATIONS, ROOT, read, tracked

# The person's part of the environment in operations.md; the rest are settings.
SHELL_VARIABLES = {"API", "KEY", "TEMPORAL_UI_URL"}


def all_settings() -> set[str]:
    """The settings of all processes."""
    return {name for kind in kinds_of_settings() for name in kind.model_fields}


def queries_in(document: str) -> set[str]:
    """Every list filter: of commands, of the table of views, and of the links in it."""
    links = re.findall(r"\]\((http[^)]*/workflows\?[^)]*)\)", document)
    return {
        *re.findall(r"--query '([^']+)'", document),
        *re.findall(r"^\| [^|]+ \| `([^`]+)` \| \[`\?query", document, re.MULTILINE),
        *chain.from_iterable(parse_qs(urlsplit(link).query)["query"] for link in links),
    }


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


def refusals_that_park() -> set[str]:
    """The codes of what activities raise: a process parks under them."""
    raised = {
        name
        for file in tracked("activities/*.py")
        for name in re.findall(r"raise (\w+)\(", (ROOT / file).read_text())
    }
    refusals = (getattr(errors, name, None) for name in raised)
    return {one.code for one in refusals if one is not None}


def reasons_to_park() -> set[str]:
    calls = set(CallState) - {CallState.SETTLED, CallState.DISCARDED}
    messages = {state for state in MessageState if state.waits}
    reasons = {*calls, *messages, *Mismatch, *HoldReason, *refusals_that_park(), APPROVAL, FAULT}
    return {str(reason) for reason in reasons}


def test_every_reason_to_park_is_explained_to_operators() -> None:
    section = read(OPERATIONS).split("## What a reason means")[1].split("\n### ")[0]
    explained = set(re.findall(r"^\| `([a-z_]+)`", section, re.MULTILINE))
    assert explained == reasons_to_park()
    for reason in explained:
        row = next(line for line in section.splitlines() if line.startswith(f"| `{reason}`"))
        assert ("by itself" in row) or not Parked(reason, "").heals, reason


def test_every_reason_to_park_has_an_advice_of_its_own() -> None:
    for_others = Parked("something else", "").advice
    assert {one for one in reasons_to_park() if Parked(one, "").advice == for_others} == set()


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
    assert {name.upper() for name in all_settings()} <= explained
    used = set(re.findall(r"\$([A-Z_]+)", read(OPERATIONS)))
    assert used <= SHELL_VARIABLES


def test_every_setting_is_read_by_somebody() -> None:
    """What the platform decides is read from the value that is made of the settings."""
    rules = {rule.name for rule in fields(PlatformRules)}
    floors = tracked("api/*.py", "activities/*.py", "billing/*.py")
    starts = tracked("settings.py", "wiring.py", "worker.py", "api/__main__.py", "cli/*.py")
    for names, files, whose in (
        (rules, floors, r"rules"),
        (all_settings() - rules, starts, r"\w"),
    ):
        code = "\n".join((ROOT / file).read_text() for file in files)
        assert {name for name in names if not re.search(rf"{whose}\.{name}\b", code)} == set()


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
