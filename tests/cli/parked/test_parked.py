"""`callwallet parked list` and `show`, and decisions about one, typed by a person."""

import getpass
import json
from collections.abc import Mapping

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from billing.calls.call import CallState
from billing.calls.call_in_progress import OngoingCall
from devstack.stack import Stack
from store.calls import calls_in_progress
from tests.support.api_process import NOBODY_LISTENS
from tests.support.calls_over_the_limit import park_calls
from tests.support.command_line import Env, callwallet, flat
from tests.support.factories import an_assistant, an_organization, balance_of, credit, ended_call
from tests.support.parked_workflows import ended as ending
from tests.support.parked_workflows import start_bill, until_parked
from tests.support.stand_ins import VapiStandIn

ANA = ("--as", "ana", "--note", "ticket 4711")


@pytest.fixture
def env(stack: Stack, worker: Client) -> Env:
    """The settings of the servers behind which the worker runs."""
    return stack.settings()


async def test_what_is_parked_is_listed_with_its_reason_its_money_and_the_sums(
    env: Env, engine: AsyncEngine, worker: Client
) -> None:
    org_id, [one, _] = await park_calls(worker, engine, 2)
    fits = ("--org", org_id, "--reason", "debt_limit", "--process", "BillCall")
    ended = await callwallet(env, "parked", "list", *fits, "--older-than", "0s")
    [row] = [line for line in ended.output.splitlines() if one.id in line]
    assert org_id in row
    assert "debt_limit" in row
    assert "5.53 GBP" in row
    assert "The wallet cannot pay this call" in flat(ended)
    [sums] = [line for line in ended.output.splitlines() if line.split()[:1] == ["debt_limit"]]
    assert sums.split()[:4] == ["debt_limit", "2", "11.06", "GBP"]
    assert "total" not in ended.output


async def test_a_list_for_programs_has_items_and_sums(
    env: Env, engine: AsyncEngine, worker: Client
) -> None:
    org_id, [one] = await park_calls(worker, engine)
    listed = json.loads((await callwallet(env, "parked", "list", "--org", org_id, "--json")).output)
    [item], [total] = listed["items"], listed["totals"]
    assert (item["workflow_id"], item["process"]) == (one.id, "BillCall")
    assert item["parked"]["at_risk"] == {"amount_minor": 553, "currency": "gbp"}
    assert (total["reason"], total["count"]) == ("debt_limit", 1)


async def test_a_list_is_cut_and_says_so_and_the_sums_are_whole(
    env: Env, engine: AsyncEngine, worker: Client
) -> None:
    org_id, _ = await park_calls(worker, engine, 3)
    ended = await callwallet(env, "parked", "list", "--org", org_id, "--limit", "2")
    assert "2 of 3 are shown" in ended.output
    assert "16.59 GBP" in ended.output


@pytest.mark.parametrize(
    "filtered",
    [("--reason", "fault"), ("--process", "SettlePayment"), ("--older-than", "2h")],
)
async def test_what_does_not_fit_is_not_listed(
    env: Env, engine: AsyncEngine, worker: Client, filtered: tuple[str, str]
) -> None:
    org_id, _ = await park_calls(worker, engine)
    ended = await callwallet(env, "parked", "list", "--org", org_id, *filtered)
    assert (ended.status, ended.output) == (0, "Nothing that fits is parked.\n")


async def test_one_shows_what_happened_what_to_do_and_where_to_look(
    env: Env, engine: AsyncEngine, worker: Client
) -> None:
    org_id, [one] = await park_calls(worker, engine)
    ended = await callwallet(env, "parked", "show", one.id)
    assert ended.status == 0, ended.said
    told = flat(ended)
    assert f"workflow {one.id} (BillCall)" in told
    assert "parked debt_limit, since " in told
    assert f"organisation {org_id}" in told
    assert "money at risk 5.53 GBP" in told
    assert "0.53 GBP below the debt limit. Nothing was charged." in told
    assert "Or raise the debt limit (PUT /v1/organizations/{org_id}/debt-limit)." in told
    assert f"callwallet parked discard {one.id} --note WHY" in told
    page = f"{env['TEMPORAL_UI_URL']}/namespaces/billing/workflows/{one.id.replace('/', '%2F')}"
    assert page in ended.output


async def test_one_that_can_be_paid_now_settles_when_it_is_reprocessed(
    env: Env, engine: AsyncEngine, worker: Client
) -> None:
    org_id, [one] = await park_calls(worker, engine)
    await credit(engine, org_id, 1000)
    ended = await callwallet(env, "parked", "reprocess", one.id, *ANA)
    assert (ended.status, ended.output) == (0, f"{one.id}: settled\n"), ended.said
    assert await balance_of(engine, org_id) == 1000 - 553
    shown = flat(await callwallet(env, "parked", "show", one.id))
    assert "state settled (completed): it is not parked" in shown
    assert "reprocess, ana: ticket 4711 (parked: debt_limit)" in shown


async def test_one_that_still_cannot_be_paid_is_parked_again_and_that_is_no_success(
    env: Env, engine: AsyncEngine, worker: Client
) -> None:
    _, [one] = await park_calls(worker, engine)
    ended = await callwallet(env, "parked", "reprocess", one.id, "--note", "again")
    assert ended.status == 1
    assert f"{one.id}: parked: debt_limit: The wallet cannot pay" in flat(ended)


async def test_one_is_given_up_by_who_is_logged_in_and_it_is_recorded(
    env: Env, engine: AsyncEngine, worker: Client
) -> None:
    org_id, [one] = await park_calls(worker, engine)
    ended = await callwallet(env, "parked", "discard", one.id, "--note", "a test call", "--json")
    assert ended.status == 0, ended.said
    answer = {"workflow_id": one.id, "verdict": "discard", "standing": "discarded"}
    assert json.loads(ended.output) == answer
    assert (await ending(one)).state is CallState.DISCARDED
    assert await balance_of(engine, org_id) == 0
    shown = await callwallet(env, "parked", "show", one.id, "--json")
    [decision] = json.loads(shown.output)["decisions"]
    assert decision["verdict"] == "discard"
    assert decision["who_and_why"] == f"{getpass.getuser()}: a test call"


async def test_what_is_done_with_cannot_be_decided_about(
    env: Env, engine: AsyncEngine, worker: Client
) -> None:
    _, [one] = await park_calls(worker, engine)
    assert (await callwallet(env, "parked", "discard", one.id, *ANA)).status == 0
    await ending(one)
    ended = await callwallet(env, "parked", "reprocess", one.id, *ANA)
    assert (ended.status, ended.output) == (2, "")
    assert f"{one.id} is not parked" in flat(ended)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("show", "call/nobody-at-all"), "there is no process call/nobody-at-all"),
        (("list", "--older-than", "yesterday"), "'yesterday' is no age (90s, 30m, 2h, 3d)"),
        (("list", "--limit", "0"), "Invalid value for '--limit'"),
        (("watch", "nobody-at-all"), "there is no bulk decision nobody-at-all"),
        (("reprocess", "call/nobody-at-all", *ANA), "there is no process call/nobody-at-all"),
        (("reprocess", *ANA), "say which: a process, what they have in common, or --all"),
        (("discard", "call/a", "--all", *ANA), "only one of these"),
        (("discard", "--all", "--reason", "fault", *ANA), "only one of these"),
        (("discard", "call/a", "--dry-run", *ANA), "`callwallet parked show` tells of one"),
        (("discard", "call/a"), "Missing option '--note'"),
        (("discard", "call/a", "--note", " "), "say who you are (--as), and why (--note)"),
        (("discard", "call/a", "--as", "", "--note", "why"), "say who you are (--as)"),
        (("reprocess", "--all", "--rate", "0", *ANA), "Invalid value for '--rate'"),
    ],
)
async def test_what_cannot_be_is_said_and_nothing_is_decided(
    env: Env, asked: tuple[str, ...], told: str
) -> None:
    ended = await callwallet(env, "parked", *asked)
    assert (ended.status, ended.output) == (2, "")
    assert told in flat(ended)
    assert "Traceback" not in ended.said


@pytest.mark.parametrize(
    ("away", "asked"),
    [
        ({"TEMPORAL_NAMESPACE": "nobody-made-this"}, ("list",)),
        ({"TEMPORAL_ADDRESS": NOBODY_LISTENS}, ("show", "call/a")),
        ({"TEMPORAL_ADDRESS": NOBODY_LISTENS}, ("discard", "call/a", *ANA)),
        ({"TEMPORAL_ADDRESS": NOBODY_LISTENS}, ("discard", "--all", *ANA)),
    ],
)
async def test_a_temporal_that_is_away_is_said(
    env: Env, away: Mapping[str, str], asked: tuple[str, ...]
) -> None:
    ended = await callwallet({**env, **away}, "parked", *asked)
    assert (ended.status, ended.output) == (1, "")
    assert "Temporal does not answer" in ended.said
    assert "Traceback" not in ended.said


async def test_a_database_that_is_away_is_said(
    env: Env, engine: AsyncEngine, worker: Client
) -> None:
    _, [one] = await park_calls(worker, engine)
    away = {"DATABASE_URL": f"postgresql://postgres:x@{NOBODY_LISTENS}/callwallet"}
    ended = await callwallet({**env, **away}, "parked", "show", one.id)
    assert (ended.status, ended.output) == (1, "")
    assert "PostgreSQL does not answer" in ended.said


@pytest.mark.parametrize("said", [(), ("--seconds", "61.5")])
async def test_a_call_of_unknown_duration_is_charged_by_the_length_that_is_stated(
    env: Env, engine: AsyncEngine, worker: Client, vapi: VapiStandIn, said: tuple[str, ...]
) -> None:
    org_id = await an_organization(engine, 10_000)
    call = ended_call(await an_assistant(engine, org_id), 700)
    await vapi.knows(call)
    async with engine.begin() as connection:
        ongoing = OngoingCall(call.call_id, call.assistant_id, None, 3600.0, 600)
        await calls_in_progress.note(connection, [ongoing])
    handle = await start_bill(worker, call)
    await until_parked(handle, "unknown_duration")
    ended = await callwallet(env, "parked", "length", handle.id, *said, *ANA)
    assert (ended.status, ended.output) == (0, f"{handle.id}: settled\n"), ended.said
    bill = await ending(handle)
    assert bill.charge is not None
    assert bill.charge.billed_seconds == (62 if said else 700)
    shown = await callwallet(env, "parked", "show", handle.id, "--json")
    [decision] = json.loads(shown.output)["decisions"]
    assert decision["who_and_why"].startswith("ana: ticket 4711 (")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("call/nobody-at-all",), "nobody-at-all"),
        (("abc", "--seconds", "43201"), "no length of a call"),
        (("abc", "--seconds", "soon"), "no length of a call"),
    ],
)
async def test_a_length_that_cannot_be_is_not_taken(
    env: Env, asked: tuple[str, ...], told: str
) -> None:
    ended = await callwallet(env, "parked", "length", *asked, *ANA)
    assert (ended.status, ended.output) == (2, "")
    assert told in flat(ended)
