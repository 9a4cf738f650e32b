"""Reconciliations started over HTTP: by whom, over what, and joined while they run."""

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import WorkflowHandle
from temporalio.service import RPCError
from temporalio.worker import Worker

from billing.inbox.webhook_event import Source
from billing.reconciliation.reconciliation import Reconciliation, Window
from processes import reconciliations, request
from processes.namespace import prepare
from processes.request import worker_polls
from settings import Settings
from tests.support.answers import balance, eventually, problem
from tests.support.api_process import NOBODY_LISTENS
from tests.support.api_server import Api, serving
from tests.support.factories import an_assistant, an_organization
from tests.support.reconciled_days import a_day, calls_on
from tests.support.stand_ins import StripeStandIn, VapiStandIn
from wiring import connect_temporal
from worker import sandbox
from workflows.collect import Collect
from workflows.reconciliation import start_options
from workflows.shared.options import BILLING_QUEUE

RUNS = "/v1/reconciliations"


async def start(
    client: httpx.AsyncClient, day: Window, source: str = "vapi", **how: Any
) -> dict[str, Any]:
    window = {"since": day.since.isoformat(), "until": day.until.isoformat()}
    answer = await client.post(RUNS, json={"source": source, **window, **how})
    assert answer.status_code == 202, answer.text
    run: dict[str, Any] = answer.json()
    return run


async def ended(client: httpx.AsyncClient, run: dict[str, Any]) -> dict[str, Any]:
    """The report of a run, once it has succeeded."""
    path = f"{RUNS}/{run['run_id']}"

    async def is_so() -> bool:
        answer = await client.get(path)
        return bool(answer.json()["run"]["status"] == "succeeded")

    await eventually(is_so)
    report: dict[str, Any] = (await client.get(path)).json()
    return report


async def a_tenant(api: Api) -> tuple[str, str]:
    org_id = await an_organization(api.engine, 10_000)
    return org_id, await an_assistant(api.engine, org_id)


async def test_an_operator_has_a_range_reconciled(working_api: Api, vapi: VapiStandIn) -> None:
    org_id, assistant = await a_tenant(working_api)
    day = a_day()
    missed = calls_on(day, assistant, 2)
    await vapi.lists(*missed)
    run = await start(working_api.operator, day)
    assert (run["source"], run["org_id"], run["daily"]) == ("vapi", None, False)
    assert run["window"]["since"] == day.since.isoformat().replace("+00:00", "Z")
    report = await ended(working_api.operator, run)
    assert (report["total"]["missing"], report["total"]["recovered"]) == (2, 2)
    assert report["progress"] == "1"
    assert await balance(working_api, org_id) == 10_000 - 2 * 56
    found = await working_api.operator.get(f"{RUNS}/{run['run_id']}/findings")
    assert {one["subject"] for one in found.json()["items"]} == {one.call_id for one in missed}
    assert {one["outcome"] for one in found.json()["items"]} == {"recovered"}


async def test_payments_of_a_range_are_reconciled_by_the_organisation_itself(
    working_api: Api, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(working_api.engine)
    await stripe.payment(org_id, 5000)
    tenant = await working_api.tenant(org_id)
    run = await start(tenant, a_day(), "stripe", org_id=org_id)
    assert run["workflow_id"].startswith(f"reconcile-stripe/org:{org_id}/")
    report = await ended(tenant, run)
    assert (report["run"]["source"], report["total"]["checked"]) == ("stripe", 0)


async def test_an_organisations_key_has_its_own_calls_reconciled_and_no_others(
    working_api: Api, vapi: VapiStandIn
) -> None:
    (mine, my_assistant), (others, their_assistant) = [await a_tenant(working_api) for _ in "ab"]
    day = a_day()
    [my_call] = calls_on(day, my_assistant, 1)
    await vapi.lists(my_call, *calls_on(day, their_assistant, 1), *calls_on(day, None, 1))
    tenant = await working_api.tenant(mine)
    report = await ended(tenant, await start(tenant, day, org_id=mine))
    assert [one["org_id"] for one in report["organizations"]] == [mine]
    assert (report["total"]["checked"], report["total"]["recovered"]) == (1, 1)
    found = await tenant.get(f"{RUNS}/{report['run']['run_id']}/findings")
    assert [one["subject"] for one in found.json()["items"]] == [my_call.call_id]
    assert [await balance(working_api, one) for one in (mine, others)] == [10_000 - 56, 10_000]


async def test_an_organisations_key_cannot_join_a_run_over_another(
    working_api: Api, vapi: VapiStandIn
) -> None:
    (mine, _), (others, _) = [await a_tenant(working_api) for _ in "ab"]
    day = a_day()
    running = await start(working_api.operator, day, org_id=others)
    tenant = await working_api.tenant(mine)
    window = {"since": day.since.isoformat(), "until": day.until.isoformat()}
    for org_id in (others, None):
        asked = {"source": "vapi", **window, "org_id": org_id}
        problem(await tenant.post(RUNS, json=asked), 403, "forbidden")
    problem(await tenant.get(f"{RUNS}/{running['run_id']}"), 404, "not_found")
    await ended(working_api.operator, running)


async def test_an_organisation_called_all_has_a_run_of_its_own(
    working_api: Api, vapi: VapiStandIn
) -> None:
    await an_organization(working_api.engine, org_id="all")
    day = a_day()
    await vapi.list_misbehaves(kind="delay", seconds=600)
    of_all = await start(working_api.operator, day)
    tenant = await working_api.tenant("all")
    own = await start(tenant, day, org_id="all")
    assert own["run_id"] != of_all["run_id"]
    assert (own["org_id"], of_all["org_id"]) == ("all", None)
    await vapi.behave()
    await ended(tenant, own)
    await ended(working_api.operator, of_all)


async def test_who_waits_no_longer_for_a_run_to_open_has_cancelled_and_not_found_no_worker(
    working_api: Api,
) -> None:
    day = a_day()
    wanted = Reconciliation(Source.VAPI, day.since, day.until)
    run = working_api.temporal.get_workflow_handle(start_options(wanted)["id"])
    async with working_api.engine.begin() as connection:
        await connection.execute(text("LOCK TABLE reconciliation_runs IN EXCLUSIVE MODE"))
        waiting = asyncio.create_task(reconciliations.reconcile(working_api.temporal, wanted))
        await eventually(lambda: _exists(run))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert await run.result() is not None


async def _exists(run: WorkflowHandle[Any, Any]) -> bool:
    try:
        await run.describe()
    except RPCError:
        return False
    return True


async def test_the_same_request_while_it_runs_joins_it_however_its_times_are_written(
    working_api: Api, vapi: VapiStandIn
) -> None:
    day = a_day()
    await vapi.list_misbehaves(kind="delay", seconds=600, times=2)
    first, second = await asyncio.gather(
        start(working_api.operator, day), start(working_api.operator, day)
    )
    elsewhere = {"since": f"{day.since:%Y-%m-%d}T05:30:00+05:30"}
    third = await start(working_api.operator, day, **elsewhere)
    other = await start(working_api.operator, day, dry_run=True)
    assert first["run_id"] == second["run_id"] == third["run_id"] != other["run_id"]
    await vapi.behave()
    for run in (first, other):
        await ended(working_api.operator, run)
    again = await start(working_api.operator, day)
    assert again["run_id"] != first["run_id"]
    await ended(working_api.operator, again)


async def test_a_dry_run_reports_and_changes_nothing(working_api: Api, vapi: VapiStandIn) -> None:
    org_id, assistant = await a_tenant(working_api)
    day = a_day()
    await vapi.lists(*calls_on(day, assistant, 3))
    run = await start(working_api.operator, day, org_id=org_id, dry_run=True)
    report = await ended(working_api.operator, run)
    assert (report["total"]["missing"], report["total"]["recovered"]) == (3, 0)
    assert report["total"]["missing_amounts"] == [{"amount_minor": 168, "currency": "gbp"}]
    assert await balance(working_api, org_id) == 10_000


async def test_a_window_that_cannot_be_reconciled_is_refused_with_its_own_code(
    working_api: Api,
) -> None:
    day = a_day()
    for since, until in ((day.until, day.since), (day.since, day.since.replace(year=2099))):
        window = {"since": since.isoformat(), "until": until.isoformat()}
        answer = await working_api.operator.post(RUNS, json={"source": "vapi", **window})
        told = problem(answer, 422, "invalid_window")
        assert "must be longer than nothing" in told["detail"]


async def test_with_temporal_away_nothing_is_started_and_that_is_said(
    engine_apart: AsyncEngine, settings: Settings
) -> None:
    gone = settings.model_copy(update={"temporal_address": NOBODY_LISTENS})
    async with serving(engine_apart, await connect_temporal(gone, lazy=True)) as api:
        answer = await api.operator.post(RUNS, json={"source": "vapi"})
    told = problem(answer, 503, "temporal_unavailable")
    assert "Temporal does not answer, so no reconciliation was started" in told["detail"]


async def test_a_worker_that_is_not_there_any_more_is_not_waited_for_for_ever(
    engine_apart: AsyncEngine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request, "ANSWER_SECONDS", 0.5)
    temporal = await connect_temporal(
        settings.model_copy(update={"temporal_namespace": "the-worker-has-just-gone"})
    )
    await prepare(temporal)
    async with Worker(
        temporal, task_queue=BILLING_QUEUE, workflows=[Collect], workflow_runner=sandbox()
    ):
        await eventually(lambda: worker_polls(temporal))
    async with serving(engine_apart, temporal) as api:
        answer = await api.operator.post(RUNS, json={"source": "vapi"})
    told = problem(answer, 503, "temporal_unavailable")
    assert "send the same again: it joins the one that runs" in told["detail"]
