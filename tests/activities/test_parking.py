"""What Temporal lists of parked work: everything, once, as it says of itself, and nothing else."""

import uuid
from collections.abc import Mapping
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import workflow
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.worker import Worker

from activities.parking.visibility import PARKED_MEMO, Visibility
from activities.temporal.search_attributes import (
    AMOUNT_MINOR,
    BILLING_STATE,
    ORG_ID,
    PARK_REASON,
    PARKED_SINCE,
    BillingState,
)
from billing.ledger.money import Currency, Money
from billing.parking.parked_work import ParkedFilter, ParkedWork
from tests.support.eventually import eventually
from tests.support.factories import an_assistant, an_organization, credit, ended_call, unique
from tests.support.parked_workflows import ended, reprocess, start_bill, until_parked

MINUTE, TEN_MINUTES = Money(56, Currency.GBP), Money(553, Currency.GBP)


async def listed(worker: Client, which: ParkedFilter, count: int) -> dict[str, ParkedWork]:
    """All that is parked, once there is as much of it: lists lag behind."""

    async def all_of_it() -> tuple[ParkedWork, ...]:
        found = await Visibility(worker).parked(which, 1000)
        return found.items if len(found.items) == count else ()

    return {one.workflow_id: one for one in await eventually(all_of_it)}


async def two_that_wait(worker: Client, engine: AsyncEngine) -> tuple[str, list[str]]:
    """A call of one minute and one of ten, that an empty wallet without a limit cannot pay."""
    org_id = await an_organization(engine, debt_limit_minor=0)
    assistant = await an_assistant(engine, org_id)
    handles = [await start_bill(worker, ended_call(assistant, seconds)) for seconds in (60, 600)]
    for handle in handles:
        await until_parked(handle, "debt_limit")
    return org_id, [handle.id for handle in handles]


async def test_a_list_tells_all_that_the_page_of_a_workflow_tells(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id, [short, long] = await two_that_wait(worker, engine)
    found = await listed(worker, ParkedFilter(org_id), 2)
    assert found.keys() == {short, long}
    work = found[long]
    description = await worker.get_workflow_handle(long).describe()
    assert (work.process, work.run_id) == ("BillCall", description.run_id)
    assert (work.parked.reason, work.parked.org_id) == ("debt_limit", org_id)
    assert (work.parked.at_risk, found[short].parked.at_risk) == (TEN_MINUTES, MINUTE)
    assert "The wallet cannot pay this call" in work.parked.happened
    shown = description.typed_search_attributes.get(PARKED_SINCE)
    assert shown is not None
    assert abs(shown - work.since) < timedelta(milliseconds=1)


async def test_since_when_it_waits_stays_while_the_same_happens_and_goes_when_it_settles(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id, [short, _] = await two_that_wait(worker, engine)
    before = await listed(worker, ParkedFilter(org_id), 2)
    handle = worker.get_workflow_handle(short)
    await reprocess(handle, "Ann: just looking")
    assert (await listed(worker, ParkedFilter(org_id), 2)).keys() == before.keys()
    assert (await listed(worker, ParkedFilter(org_id), 2))[short].since == before[short].since
    await credit(engine, org_id, 56)
    await reprocess(handle, "Ann: the money is there")
    await ended(handle)
    assert (await listed(worker, ParkedFilter(org_id), 1)).keys() == before.keys() - {short}
    description = await handle.describe()
    assert await description.memo_value("parked", None) is None
    assert description.typed_search_attributes.get(PARKED_SINCE) is None


async def test_what_is_asked_for_is_what_is_listed_and_summed_up(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id, _ = await two_that_wait(worker, engine)
    found = await listed(worker, ParkedFilter(org_id), 2)
    [total] = await Visibility(worker).totals(ParkedFilter(org_id))
    assert (total.reason, total.count) == ("debt_limit", 2)
    assert total.at_risk == (MINUTE + TEN_MINUTES,)
    assert total.oldest_since == min(one.since for one in found.values())
    second = max(found.values(), key=lambda one: one.since)
    wanted = {
        ParkedFilter(org_id, "debt_limit", "BillCall"): 2,
        ParkedFilter(org_id, "fault"): 0,
        ParkedFilter(org_id, process="SettlePayment"): 0,
        ParkedFilter(org_id, parked_before=second.since - timedelta(milliseconds=1)): 1,
        ParkedFilter(org_id, parked_before=second.since + timedelta(seconds=1)): 2,
    }
    for which, count in wanted.items():
        assert await Visibility(worker).count(which) == count
        assert len((await Visibility(worker).parked(which, 10)).items) == count


async def test_pages_have_everything_once(worker: Client, engine: AsyncEngine) -> None:
    org_id, ids = await two_that_wait(worker, engine)
    await listed(worker, ParkedFilter(org_id), 2)
    seen, token = list[str](), None
    while True:
        page = await Visibility(worker).parked(ParkedFilter(org_id), 1, token)
        seen += [one.workflow_id for one in page.items]
        token = page.next_page_token
        if token is None:
            break
    assert sorted(seen) == sorted(ids)


@pytest.mark.parametrize("strange", ["o'brien", "per%cent_", "x' OR BillingState = 'parked"])
async def test_a_value_is_found_whatever_it_would_mean_in_a_query(
    worker: Client, strange: str
) -> None:
    org_id = f"{strange}{uuid.uuid4().hex}"
    workflow_id = await a_parked_workflow(worker, org_id)
    [found] = (await listed(worker, ParkedFilter(org_id), 1)).values()
    assert found.workflow_id == workflow_id


@pytest.mark.parametrize(
    "strange",
    [
        "x' OR BillingState = 'parked",
        "x\\",
        "\\' OR BillingState = 'parked' OR OrgId = '",
        '"',
        "''",
    ],
)
async def test_a_value_stays_a_value(worker: Client, strange: str) -> None:
    """Of what it would let in there is always some: another test's."""
    await a_parked_workflow(worker, f"org_{uuid.uuid4().hex}")
    for which in (
        ParkedFilter(strange),
        ParkedFilter(reason=strange),
        ParkedFilter(process=strange),
    ):
        assert await Visibility(worker).count(which) == 0


async def test_what_parked_before_there_were_notes_is_listed_by_its_search_attributes(
    worker: Client,
) -> None:
    org_id = f"org_{uuid.uuid4().hex}"
    workflow_id = await a_parked_workflow(worker, org_id)
    [found] = (await listed(worker, ParkedFilter(org_id), 1)).values()
    started = (await worker.get_workflow_handle(workflow_id).describe()).start_time
    assert (found.parked.reason, found.parked.org_id, found.since) == ("fault", org_id, started)
    assert "page in the Temporal UI" in found.parked.happened
    for later, count in ((-1, 0), (1, 1)):
        which = ParkedFilter(org_id, parked_before=started + timedelta(seconds=later))
        assert await Visibility(worker).count(which) == count


@pytest.mark.parametrize("memo", [7, {"parked": None}, "text"])
async def test_a_note_that_nobody_can_read_stops_no_list(worker: Client, memo: object) -> None:
    org_id = unique("org")
    bad = await a_parked_workflow(worker, org_id, {PARKED_MEMO: memo})
    good = await a_parked_workflow(worker, org_id)
    found = await listed(worker, ParkedFilter(org_id), 2)
    assert found.keys() == {bad, good}
    assert found[bad].parked == found[good].parked
    [total] = await Visibility(worker).totals(ParkedFilter(org_id))
    assert total.count == 2


async def a_parked_workflow(
    temporal: Client, org_id: str, memo: Mapping[str, object] | None = None
) -> str:
    """One as an older version has left it; nobody works on it."""
    attributes = TypedSearchAttributes(
        [
            SearchAttributePair(BILLING_STATE, BillingState.PARKED),
            SearchAttributePair(PARK_REASON, "fault"),
            SearchAttributePair(ORG_ID, org_id),
            SearchAttributePair(AMOUNT_MINOR, 100),
        ]
    )
    workflow_id = f"parked-before/{uuid.uuid4()}"
    await temporal.start_workflow(
        "Anything",
        id=workflow_id,
        task_queue="nobody-works-here",
        search_attributes=attributes,
        memo=memo,
        execution_timeout=timedelta(minutes=5),
    )
    return workflow_id


@workflow.defn(sandboxed=False)
class Broken:
    @workflow.run
    async def run(self) -> None:
        raise ValueError("a bug")


async def test_processes_whose_code_fails_are_counted_and_named(temporal: Client) -> None:
    queue = f"broken-{uuid.uuid4()}"
    async with Worker(temporal, task_queue=queue, workflows=[Broken]):
        handle = await temporal.start_workflow(
            Broken.run, id=queue, task_queue=queue, task_timeout=timedelta(seconds=1)
        )

        async def is_named() -> bool:
            """They are counted and named one after the other: the first may see one less."""
            problems = await Visibility(temporal).problems(100)
            is_counted = problems.count >= len(problems.workflow_ids)
            return is_counted and handle.id in problems.workflow_ids

        await eventually(is_named)
        await handle.terminate("a test")
