"""A parked process: what an operator sees of it, and what they can decide about it."""

import asyncio
import sysconfig
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError

from activities.temporal.search_attributes import BillingState
from billing.calls.call import CallBill, CallState, EndedCall
from billing.ledger.entry import Outcome
from store.calls import call_records, calls
from tests.support.eventually import eventually
from tests.support.factories import (
    an_assistant,
    an_organization,
    balance_of,
    credit,
    ended_call,
    keys_of,
)
from tests.support.inbox_events import drain, report_of
from tests.support.parked_workflows import (
    attributes,
    collect_all,
    discard,
    ended,
    page,
    reprocess,
    start_bill,
    until_parked,
)
from workflows import bill_call
from workflows.bill_call import BillCall
from workflows.shared.decision_answer import DecisionAnswer

Call = WorkflowHandle[BillCall, CallBill]
ANN = "Ann: agreed with the customer"


async def over_the_limit(worker: Client, engine: AsyncEngine) -> tuple[str, Call, EndedCall]:
    """A call of ten minutes (553 pence) that the empty wallet of an organisation cannot pay."""
    org_id = await an_organization(engine)
    call = ended_call(await an_assistant(engine, org_id), 600)
    handle = await start_bill(worker, call)
    await until_parked(handle, "debt_limit")
    return org_id, handle, call


async def test_a_call_over_the_limit_parks_and_explains_itself(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id, handle, call = await over_the_limit(worker, engine)
    assert await attributes(handle) == ("parked", "debt_limit", org_id, 553)
    written = await page(handle)
    assert f"temporal workflow signal --namespace {worker.namespace}" in written
    assert f"--workflow-id call/{call.call_id} --name reprocess" in written
    assert "its balance of 0.00 GBP would become -5.53 GBP, 0.53 GBP below" in written
    assert await balance_of(engine, org_id) == 0


async def test_a_reprocess_signal_charges_once_there_is_money(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id, handle, _ = await over_the_limit(worker, engine)
    await credit(engine, org_id, 53)
    await handle.signal(BillCall.reprocess, "Ann: the money is there")
    assert (await ended(handle)).state is CallState.SETTLED
    assert await attributes(handle) == ("settled", None, org_id, 553)
    assert "## Settled" in await page(handle)
    assert await balance_of(engine, org_id) == -500


async def test_a_reprocess_update_answers_with_what_came_of_it(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id, handle, _ = await over_the_limit(worker, engine)
    answer = await reprocess(handle, "Ann: just looking")
    assert str(answer).startswith("parked: debt_limit: The wallet cannot pay this call")
    await credit(engine, org_id, 52)
    answer = await reprocess(handle, "Ann: some money is there")
    assert answer.parked is not None
    assert "0.01 GBP below the debt limit" in answer.parked.happened
    await credit(engine, org_id, 1)
    answer = await reprocess(handle, "Ann: all of it is there")
    assert answer == DecisionAnswer(BillingState.SETTLED)
    assert await balance_of(engine, org_id) == -500


@pytest.mark.parametrize("nothing_said", ["", "  "])
async def test_who_decides_must_say_who_and_why(
    worker: Client, engine: AsyncEngine, nothing_said: str
) -> None:
    _, handle, _ = await over_the_limit(worker, engine)
    for decide in (reprocess, discard):
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await decide(handle, nothing_said)
        assert isinstance(refused.value.cause, ApplicationError)
        assert refused.value.cause.type == "invalid_decision"
    assert (await attributes(handle))[0] == "parked"


async def test_a_call_that_is_not_parked_cannot_be_decided_about(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id = await an_organization(engine)
    call = ended_call(await an_assistant(engine, org_id))
    operation = WithStartWorkflowOperation(
        BillCall.run,
        call,
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        **bill_call.start_options(call),
    )
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await worker.execute_update_with_start_workflow(
            "discard", ANN, start_workflow_operation=operation
        )
    assert isinstance(refused.value.cause, ApplicationError)
    assert refused.value.cause.type == "not_parked"
    assert (await ended(await operation.workflow_handle())).state is CallState.SETTLED


async def test_a_discarded_call_is_never_charged_whatever_comes_later(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id, handle, call = await over_the_limit(worker, engine)
    await handle.signal(BillCall.discard, ANN)
    assert (await ended(handle)).state is CallState.DISCARDED
    assert (await attributes(handle))[:2] == ("discarded", None)
    async with engine.connect() as connection:
        record = await call_records.read(connection, call.call_id)
    assert (record.state, record.note) == (CallState.DISCARDED, ANN)

    await credit(engine, org_id, 1000)
    with pytest.raises(WorkflowAlreadyStartedError):
        await start_bill(worker, call)
    await drain(worker, engine, report_of(call))
    assert await collect_all(worker, org_id) == 0
    assert await keys_of(engine, org_id) == []
    assert await balance_of(engine, org_id) == 1000


async def test_a_discard_update_answers_when_it_is_done(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id, handle, call = await over_the_limit(worker, engine)
    assert (await discard(handle, ANN)).state == "discarded"
    async with engine.connect() as connection:
        assert (await call_records.read(connection, call.call_id)).state is CallState.DISCARDED
    assert (await ended(handle)).state is CallState.DISCARDED
    assert await balance_of(engine, org_id) == 0


async def test_a_charge_that_was_made_before_the_discard_stands(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id, handle, call = await over_the_limit(worker, engine)
    await credit(engine, org_id, 1000)
    async with engine.begin() as connection:
        await calls.charge(connection, [call])
    assert (await discard(handle, ANN)).state == "settled"
    bill = await ended(handle)
    assert bill.state is CallState.SETTLED
    assert bill.posting is not None
    assert bill.posting.entry is not None
    assert (bill.posting.outcome, bill.posting.entry.key) == (
        Outcome.DUPLICATE, f"call:{call.call_id}",
    )  # fmt: skip
    assert await balance_of(engine, org_id) == 1000 - 553


@pytest.mark.parametrize(
    ("seconds", "state"), [(60, CallState.SETTLED), (600, CallState.DISCARDED)]
)
async def test_a_discard_during_the_first_try_holds_unless_that_try_succeeds(
    worker: Client, engine: AsyncEngine, seconds: int, state: CallState
) -> None:
    org_id = await an_organization(engine)
    call = ended_call(await an_assistant(engine, org_id), seconds)
    handle = await worker.start_workflow(
        BillCall.run,
        call,
        start_signal="discard",
        start_signal_args=[ANN],
        **bill_call.start_options(call),
    )
    assert (await ended(handle)).state is state
    assert await balance_of(engine, org_id) == (-56 if state is CallState.SETTLED else 0)


async def test_parked_calls_are_found_by_reason_and_woken_together_from_the_command_line(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id = await an_organization(engine)
    assistant = await an_assistant(engine, org_id)
    handles = [await start_bill(worker, ended_call(assistant, 600)) for _ in range(3)]
    for handle in handles:
        await until_parked(handle, "debt_limit")
    query = f"BillingState = 'parked' AND ParkReason = 'debt_limit' AND OrgId = '{org_id}'"

    async def all_are_listed() -> bool:
        found = {one.id async for one in worker.list_workflows(query)}
        return found == {handle.id for handle in handles}

    await eventually(all_are_listed)
    await credit(engine, org_id, 3 * 553)
    await signal_all(worker, query)
    for handle in handles:
        assert (await ended(handle)).state is CallState.SETTLED
    assert await balance_of(engine, org_id) == 0


async def signal_all(worker: Client, query: str) -> None:
    """Do what an operator does: `temporal workflow signal --query …`."""
    command = await asyncio.create_subprocess_exec(
        str(Path(sysconfig.get_path("scripts")) / "temporal"),
        *("workflow", "signal", "--yes", "--query", query),
        *("--address", worker.service_client.config.target_host, "--namespace", worker.namespace),
        *("--name", "reprocess", "--input", '"Ann: all of them"', "--reason", "a test"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await command.communicate()
    assert command.returncode == 0, output.decode()
