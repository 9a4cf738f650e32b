"""`callwallet parked reprocess` and `discard` about many: counted first, confirmed, watched."""

import json
import re
import signal
from asyncio import StreamReader
from datetime import timedelta
from typing import cast

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.testing import TimeSkipper

from activities.parking.visibility import Visibility
from billing.calls.call import CallState
from billing.parking.parked_work import ParkedFilter
from devstack.stack import Stack
from tests.support.calls_over_the_limit import park_calls
from tests.support.command_line import Env, callwallet, end, flat, start
from tests.support.eventually import eventually
from tests.support.factories import balance_of, credit
from tests.support.parked_workflows import attributes
from tests.support.parked_workflows import ended as ending

ANA = ("--as", "ana", "--note", "ticket 4711")


@pytest.fixture
def env(stack: Stack, worker: Client) -> Env:
    """The settings of the servers behind which the worker runs."""
    return stack.settings()


async def test_many_are_told_and_settle_once(env: Env, engine: AsyncEngine, worker: Client) -> None:
    org_id, calls = await park_calls(worker, engine, 3)
    await credit(engine, org_id, 2000)
    ended = await callwallet(env, "parked", "reprocess", "--org", org_id, *ANA, "--yes")
    assert ended.status == 0, ended.said
    assert "debt_limit 3 16.59 GBP" in flat(ended)
    assert "3 were told. They go on by themselves" in ended.output
    assert "3/3" in ended.said
    for call in calls:
        assert (await ending(call)).state is CallState.SETTLED
    assert await balance_of(engine, org_id) == 2000 - 3 * 553


async def test_many_are_given_up_and_each_knows_by_whom_and_in_which_bulk(
    env: Env, engine: AsyncEngine, worker: Client
) -> None:
    org_id, calls = await park_calls(worker, engine, 3)
    asked = ("--org", org_id, "--reason", "debt_limit", "--process", "BillCall")
    ended = await callwallet(env, "parked", "discard", *asked, *ANA, "--yes", "--json")
    assert ended.status == 0, ended.said
    told = json.loads(ended.output)
    assert told["progress"] == {"matched": 3, "told": 3, "gone": 0, "done": True}
    for call in calls:
        assert (await ending(call)).state is CallState.DISCARDED
    shown = await callwallet(env, "parked", "show", calls[0].id, "--json")
    [decision] = json.loads(shown.output)["decisions"]
    assert decision["who_and_why"] == f"ana: ticket 4711 (bulk {told['bulk_id']})"


async def test_a_dry_run_counts_and_changes_nothing(
    env: Env, engine: AsyncEngine, worker: Client
) -> None:
    org_id, calls = await park_calls(worker, engine, 3)
    ended = await callwallet(env, "parked", "discard", "--org", org_id, *ANA, "--dry-run")
    assert ended.status == 0, ended.said
    assert "debt_limit 3 16.59 GBP" in flat(ended)
    assert ended.said == ""
    asked = ("--org", org_id, *ANA, "--dry-run", "--json")
    told = json.loads((await callwallet(env, "parked", "discard", *asked)).output)
    assert (told["bulk_id"], told["progress"]) == (None, None)
    assert [one["count"] for one in told["totals"]] == [3]
    assert [(await attributes(call))[0] for call in calls] == ["parked"] * 3


async def test_nothing_is_told_without_a_yes(env: Env, engine: AsyncEngine, worker: Client) -> None:
    org_id, calls = await park_calls(worker, engine, 3)
    ended = await callwallet(env, "parked", "discard", "--org", org_id, *ANA)
    assert ended.status == 1
    assert "Discard all of it (3 parked, 16.59 GBP at risk)?" in flat(ended)
    assert "Bulk decision" not in ended.said
    assert [(await attributes(call))[0] for call in calls] == ["parked"] * 3


async def test_nobody_is_asked_where_nothing_fits(env: Env) -> None:
    ended = await callwallet(env, "parked", "discard", "--org", "nobody-at-all", *ANA)
    assert (ended.status, ended.output) == (0, "Nothing that fits is parked.\n")


async def test_ctrl_c_leaves_it_to_itself_and_it_can_be_watched_again(
    env: Env, engine: AsyncEngine, worker: Client
) -> None:
    """One a second is told; when the command has ended, the seconds that are left are skipped."""
    org_id, calls = await park_calls(worker, engine, 12)
    asked = ("--org", org_id, *ANA, "--yes", "--rate", "1")
    process = await start(env, "parked", "discard", *asked)
    begun = await cast("StreamReader", process.stderr).readline()
    [bulk_id] = re.findall(rb"Bulk decision (\w+)", begun)
    await eventually(lambda: fewer_are_parked(worker, org_id, 12))
    process.send_signal(signal.SIGINT)
    interrupted = await end(process)
    assert interrupted.status == 130
    assert f"watch it again: `callwallet parked watch {bulk_id.decode()}`" in flat(interrupted)
    bulk = worker.get_workflow_handle(f"decide/{bulk_id.decode()}")
    await TimeSkipper(worker).fast_forward(bulk, timedelta(minutes=1))
    watched = await callwallet(env, "parked", "watch", bulk_id.decode())
    assert watched.status == 0, watched.said
    assert "12 were told" in watched.output
    for call in calls:
        assert (await ending(call)).state is CallState.DISCARDED


async def fewer_are_parked(worker: Client, org_id: str, than: int) -> bool:
    return await Visibility(worker).count(ParkedFilter(org_id)) < than
