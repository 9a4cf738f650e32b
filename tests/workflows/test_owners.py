"""A process charges whoever owed it at the time, and says who that was."""

from dataclasses import replace
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from billing.calls.call import CallState, EndedCall, call_workflow_id
from billing.calls.call_in_progress import OngoingCall
from billing.inbox.webhook_event import Drain
from billing.messages.message import MessageState
from billing.organizations import AgentKind
from billing.reconciliation.reconciliation import FindingOutcome
from processes.drains import nudge
from store.calls import call_records, calls_in_progress
from tests.support.eventually import eventually
from tests.support.factories import (
    a_sender,
    an_assistant,
    an_organization,
    balance_of,
    credit,
    ended_call,
    keys_of,
    move,
    now,
    unregister,
)
from tests.support.inbox_events import drain, report_of
from tests.support.messages import a_message, record_of, report_statuses
from tests.support.parked_workflows import (
    attributes,
    collect_all,
    ended,
    page,
    reprocess,
    start_bill,
    until_parked,
)
from tests.support.reconciled_days import Reconciler, a_day, calls_on
from tests.support.stand_ins import TwilioStandIn, VapiStandIn

NUMBER = AgentKind.SMS_NUMBER


async def owner_of(engine: AsyncEngine, call: EndedCall) -> str | None:
    async with engine.connect() as connection:
        return (await call_records.read(connection, call.call_id)).org_id


async def test_a_parked_call_is_paid_by_its_debtor_and_its_page_says_so(
    worker: Client, engine: AsyncEngine
) -> None:
    one = await an_organization(engine, debt_limit_minor=0)
    other = await an_organization(engine, 1000)
    assistant = await an_assistant(engine, one)
    call = ended_call(assistant)
    handle = await start_bill(worker, call)
    await until_parked(handle, "debt_limit")
    await move(engine, assistant, one, other)
    await collect_all(worker, other)
    await reprocess(handle, "Ann: the assistant is another's now")
    assert await until_parked(handle, "debt_limit") == ("parked", "debt_limit", one, 56)
    await credit(engine, one, 56)
    await collect_all(worker, one)
    bill = await ended(handle)
    assert (bill.state, bill.org_id) == (CallState.SETTLED, one)
    assert await attributes(handle) == ("settled", None, one, 56)
    assert f"**Organisation:** {one}" in await page(handle)
    assert await owner_of(engine, call) == one
    assert (await balance_of(engine, one), await balance_of(engine, other)) == (0, 1000)


async def test_the_page_of_a_call_that_never_waited_says_who_paid(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id = await an_organization(engine, 1000)
    handle = await start_bill(worker, ended_call(await an_assistant(engine, org_id)))
    await ended(handle)
    assert await page(handle) == f"## Settled\n**Organisation:** {org_id} · **Money:** 0.56 GBP"


async def test_a_call_that_was_charged_in_a_flood_names_who_paid_when_it_is_started_again(
    worker: Client, engine: AsyncEngine
) -> None:
    one, other = await an_organization(engine, 1000), await an_organization(engine, 1000)
    assistant = await an_assistant(engine, one)
    call = ended_call(assistant)
    await drain(worker, engine, report_of(call))
    await move(engine, assistant, one, other)
    handle = await start_bill(worker, call)
    bill = await ended(handle)
    assert bill.org_id == one
    assert bill.posting is not None
    assert bill.posting.balance_after.amount_minor == 1000 - 56
    assert await attributes(handle) == ("settled", None, one, 56)


async def test_calls_that_wait_are_collected_though_their_assistant_was_deleted(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id = await an_organization(engine, debt_limit_minor=0)
    assistant = await an_assistant(engine, org_id)
    handles = [await start_bill(worker, ended_call(assistant)) for _ in range(5)]
    for handle in handles:
        await until_parked(handle, "debt_limit")
    await unregister(engine, assistant, org_id)
    await credit(engine, org_id, 5 * 56)
    await collect_all(worker, org_id)
    for handle in handles:
        assert (await ended(handle)).org_id == org_id
    assert await balance_of(engine, org_id) == 0


async def test_a_call_that_reconciliation_finds_is_of_whoever_had_its_assistant_then(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    one, other = await an_organization(engine, 1000), await an_organization(engine, 1000)
    moved, deleted = await an_assistant(engine, one), await an_assistant(engine, one)
    await move(engine, moved, one, other)
    await unregister(engine, deleted, one)
    day, reconciler = a_day(), Reconciler(worker, engine)
    found = [*calls_on(day, moved, 1), *calls_on(day, deleted, 1, 30)]
    await vapi.lists(*found)
    report = await reconciler.reconcile(day, org_id=one)
    assert (report.total.checked, report.total.recovered) == (2, 2)
    assert {one.outcome for one in await reconciler.findings(report)} == {FindingOutcome.RECOVERED}
    assert set(await keys_of(engine, one)) == {f"call:{call.call_id}" for call in found}
    assert (await balance_of(engine, one), await balance_of(engine, other)) == (
        1000 - 56 - 28,
        1000,
    )


async def test_reconciliation_leaves_a_call_that_waits_with_its_debtor(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    one = await an_organization(engine, debt_limit_minor=0)
    other = await an_organization(engine, 1000)
    day = a_day()
    [call] = calls_on(day, await an_assistant(engine, one), 1)
    handle = await start_bill(worker, call)
    await until_parked(handle, "debt_limit")
    await vapi.lists(replace(call, assistant_id=await an_assistant(engine, other)))
    report = await Reconciler(worker, engine).reconcile(day)
    [finding] = await Reconciler(worker, engine).findings(report)
    assert (finding.org_id, finding.outcome) == (one, FindingOutcome.WAITING)
    assert (await balance_of(engine, one), await balance_of(engine, other)) == (0, 1000)
    await handle.signal("discard", "Ann: enough")


async def test_a_call_whose_report_is_lost_is_of_whoever_had_its_assistant_then(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    one, other = await an_organization(engine, 1000), await an_organization(engine, 1000)
    moved, deleted = await an_assistant(engine, one), await an_assistant(engine, one)
    began_at = await now(engine)
    ends = began_at + timedelta(seconds=60)
    lost = [ended_call(assistant, ended_at=ends) for assistant in (moved, deleted)]
    await move(engine, moved, one, other)
    await unregister(engine, deleted, one)
    async with engine.begin() as connection:
        for call in lost:
            known = OngoingCall(call.call_id, call.assistant_id, call.phone_number_id, -1.0)
            await calls_in_progress.note(connection, [known])
    for call in lost:
        await vapi.knows(call)
    await nudge(worker, Drain.INBOX)

    async def are_paid() -> bool:
        return await balance_of(engine, one) == 1000 - 2 * 56

    await eventually(are_paid)
    for call in lost:
        handle = worker.get_workflow_handle(call_workflow_id(call.call_id))
        await ended(handle)
        assert (await attributes(handle))[2] == one
    assert await balance_of(engine, other) == 1000


async def test_a_message_that_waits_is_paid_by_its_debtor_though_the_sender_moves(
    worker: Client, engine: AsyncEngine, twilio: TwilioStandIn
) -> None:
    one = await an_organization(engine, debt_limit_minor=0)
    other = await an_organization(engine, 1000)
    sender = await a_sender(engine, one)
    sid = await a_message(twilio, sender, "delivered")
    handle = await report_statuses(worker, sid, "delivered")
    await until_parked(handle, "debt_limit")
    await move(engine, sender, one, other, NUMBER)
    await reprocess(handle, "Ann: the sender is another's now")
    await credit(engine, one, 5)
    await collect_all(worker, one)
    bill = await ended(handle)
    assert (bill.state, bill.org_id) == (MessageState.CHARGED, one)
    assert f"**Organisation:** {one}" in await page(handle)
    assert (await record_of(engine, sid)).org_id == one
    assert (await balance_of(engine, one), await balance_of(engine, other)) == (0, 1000)
