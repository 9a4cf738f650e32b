"""`callwallet reconcile`, typed by a person, on real servers."""

import asyncio
import json
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from billing.reconciliation.reconciliation import Report, Window
from devstack.stack import Stack
from store.reconciliation import runs
from tests.support.api_process import NOBODY_LISTENS
from tests.support.command_line import Ended, callwallet, end, start
from tests.support.eventually import eventually
from tests.support.factories import an_assistant, an_organization, balance_of, unique
from tests.support.reconciled_days import a_day, bill, calls_on
from tests.support.reconciliation_runs import a_run, on, record
from tests.support.stand_ins import VapiStandIn
from workflows.reconcile_vapi import ReconcileVapi

Env = Mapping[str, str]


@pytest.fixture
def env(stack: Stack, worker: Client) -> Env:
    """The settings of the servers behind which the worker runs."""
    return stack.settings()


def over(day: Window) -> tuple[str, ...]:
    """A whole day, as dates."""
    return ("--from", f"{day.since:%Y-%m-%d}", "--to", f"{day.until:%Y-%m-%d}")


async def a_tenant(engine: AsyncEngine) -> tuple[str, str]:
    org_id = await an_organization(engine, 10_000)
    return org_id, await an_assistant(engine, org_id)


def row(ended: Ended, name: str) -> list[str]:
    """The cells of one line of the table."""
    [line] = [one for one in ended.output.splitlines() if one.strip().startswith(name)]
    return line.split()[1:]


async def test_a_day_is_reconciled_and_told_in_a_table(
    env: Env, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id, assistant = await a_tenant(engine)
    day = a_day()
    known, *missed = calls_on(day, assistant, 4)
    await bill(engine, known)
    await vapi.lists(known, *missed)
    ended = await callwallet(env, "reconcile", "vapi", *over(day))
    assert ended.status == 0, ended.said
    assert f"Vapi, all organisations, {day.since:%Y-%m-%d} 00:00 to" in ended.output
    figures = ["4", "3", "0", "0", "0", "3", "0", "0", "25.00", "%", "1.68", "GBP"]
    assert row(ended, org_id) == row(ended, "total") == figures
    assert "90 calls a month would be missed: 50.40 GBP a month, 613.20 GBP a year" in ended.output
    assert "It took " in ended.output
    page = f"{env['TEMPORAL_UI_URL']}/namespaces/billing/workflows/reconcile-vapi%2Fall%2F"
    assert page in ended.output
    assert "Succeeded" in ended.said
    assert "4 checked, 3 found, 3 recovered" in ended.said
    assert await balance_of(engine, org_id) == 10_000 - 4 * 56


async def test_a_second_run_finds_nothing_and_says_so(
    env: Env, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id, assistant = await a_tenant(engine)
    day = a_day()
    known = calls_on(day, assistant, 2)
    await bill(engine, *known)
    await vapi.lists(*known)
    ended = await callwallet(env, "reconcile", "vapi", *over(day), "--org", org_id)
    assert ended.status == 0, ended.said
    assert row(ended, org_id) == ["2", "0", "0", "0", "0", "0", "0", "0", "100.00", "%", "0"]
    assert "No webhook of 2 calls was missed." in ended.output


async def test_a_dry_run_for_programs_prints_the_report_and_changes_nothing(
    env: Env, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id, assistant = await a_tenant(engine)
    day = a_day()
    await vapi.lists(*calls_on(day, assistant, 2))
    times = ("--from", f"{day.since:%Y-%m-%d}T05:30:00+05:30", "--to", f"{day.until:%Y-%m-%dT%H}")
    asked = ("--org", org_id, "--dry-run", "--json")
    ended = await callwallet(env, "reconcile", "vapi", *times, *asked)
    assert ended.status == 0, ended.said
    report = json.loads(ended.output)
    assert (report["run"]["dry_run"], report["run"]["org_id"]) == (True, org_id)
    assert report["run"]["window"]["since"] == f"{day.since:%Y-%m-%d}T00:00:00Z"
    assert report["run"]["window"]["until"] == f"{day.until:%Y-%m-%d}T00:00:00Z"
    assert (report["total"]["missing"], report["total"]["recovered"]) == (2, 0)
    assert await balance_of(engine, org_id) == 10_000


async def test_the_same_command_joins_the_run_that_is_under_way(
    env: Env, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    day = a_day()
    await vapi.list_misbehaves(kind="delay", seconds=600)
    asked = ("reconcile", "vapi", *over(day), "--json")
    asking = asyncio.gather(*(callwallet(env, *asked) for _ in range(2)))
    await eventually(lambda: two_follow(engine))
    await vapi.behave()
    ended = await asking
    assert [one.status for one in ended] == [0, 0], ended
    first, second = (json.loads(one.output)["run"]["run_id"] for one in ended)
    assert first == second


async def two_follow(engine: AsyncEngine) -> bool:
    """Whether two commands have joined, and read how the run stands."""
    follows = "SELECT count(*) FROM pg_stat_activity WHERE application_name = :name"
    async with engine.connect() as connection:
        followed_by = await connection.scalar(text(follows), {"name": "callwallet reconcile"})
    return bool(followed_by == 2)


async def test_a_run_that_is_parked_says_why_and_what_to_do(
    env: Env, engine: AsyncEngine, vapi: VapiStandIn, worker: Client
) -> None:
    day = a_day()
    await vapi.list_misbehaves(kind="status", status=401, times=3)
    ended = await callwallet(env, "reconcile", "vapi", *over(day))
    assert ended.status == 1
    assert "The run is parked." in ended.said
    assert "401 Unauthorized" in ended.said
    workflow_id = f"reconcile-vapi/all/{day.since}..{day.until}".replace(" ", "T")
    assert f"temporal workflow signal --workflow-id {workflow_id} --name reprocess" in ended.said
    assert "Traceback" not in ended.said
    running = worker.get_workflow_handle(workflow_id, result_type=Report)
    await running.signal(ReconcileVapi.reprocess, "the tests: Vapi takes the key again")
    assert await running.result() is not None


async def test_ctrl_c_leaves_the_run_to_itself(
    env: Env, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id, assistant = await a_tenant(engine)
    day = a_day()
    await vapi.lists(*calls_on(day, assistant, 1))
    await vapi.list_misbehaves(kind="delay", seconds=600, times=None)
    process = await start(env, "reconcile", "vapi", *over(day), "--org", org_id)
    await eventually(lambda: is_listed(engine, org_id))
    process.send_signal(signal.SIGINT)
    ended = await end(process)
    await vapi.behave()
    assert ended.status == 130
    assert "The run goes on without you" in ended.said

    async def is_charged() -> bool:
        return await balance_of(engine, org_id) == 10_000 - 56

    await eventually(is_charged)


async def is_listed(engine: AsyncEngine, org_id: str) -> bool:
    async with engine.connect() as connection:
        return bool(await runs.page(connection, None, 1, org_id=org_id))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("vapi", "--from", "yesterday"), "'yesterday' is neither a date"),
        (("vapi", "--to", "0001-01-01T00:00+14:00"), "is neither a date"),
        (("vapi", "--from", "2022-02-02", "--to", "2022-02-01"), "must be longer than nothing"),
        (("stripe", "--from", "2020-01-01"), "no longer than 366 days"),
        (("vapi", "--org", "nobody-at-all"), "there is no organization nobody-at-all"),
        (("chart", "vapi", "--org", "nobody-at-all"), "there is no organization nobody-at-all"),
        (("chart", "vapi", "--days", "93"), "Invalid value for '--days'"),
    ],
)
async def test_what_cannot_be_is_said_and_nothing_is_started(
    env: Env, asked: tuple[str, ...], told: str
) -> None:
    ended = await callwallet(env, "reconcile", *asked)
    assert (ended.status, ended.output) == (2, "")
    assert told in " ".join(ended.said.replace("│", " ").split())
    assert "Traceback" not in ended.said


@pytest.mark.parametrize(
    ("away", "told"),
    [
        ({"TEMPORAL_ADDRESS": NOBODY_LISTENS}, "Temporal does not answer"),
        ({"TEMPORAL_NAMESPACE": "nobody-works-here-either"}, "Temporal does not answer"),
        ({"DATABASE_URL": f"postgresql://postgres:x@{NOBODY_LISTENS}/callwallet"},
         "PostgreSQL does not answer"),
    ],
)  # fmt: skip
async def test_what_is_away_is_said(
    env: Env, engine: AsyncEngine, away: Mapping[str, str], told: str
) -> None:
    org_id = await an_organization(engine)
    ended = await callwallet({**env, **away}, "reconcile", "vapi", "--org", org_id)
    assert (ended.status, ended.output) == (1, "")
    assert told in ended.said
    assert "Traceback" not in ended.said


async def test_the_chart_is_written_to_a_file(
    env: Env, engine: AsyncEngine, tmp_path: Path
) -> None:
    org_id, out = await an_organization(engine), tmp_path / "reliability.svg"
    async with engine.connect() as connection:
        now = (await connection.exec_driver_sql("SELECT now()")).scalar_one()
    await record(engine, a_run(), on(now, {org_id: 12}))
    asked = ("chart", "vapi", "--days", "7", "--org", org_id, "--out", str(out))
    ended = await callwallet(env, "reconcile", *asked)
    assert (ended.status, ended.output) == (0, f"{out}: 1 of the last 7 days\n"), ended.said
    assert f"<title>{now:%Y-%m-%d}: 100.00 % of 12 arrived, 0 missed</title>" in out.read_text()


async def test_a_chart_that_cannot_be_written_is_bad_input(env: Env, tmp_path: Path) -> None:
    out = tmp_path / unique("nowhere") / "reliability.svg"
    ended = await callwallet(env, "reconcile", "chart", "stripe", "--out", str(out))
    assert ended.status == 2
    assert "No such file or directory" in ended.said
    assert "Traceback" not in ended.said
