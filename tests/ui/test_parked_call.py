"""A parked call in the hands of somebody who has Temporal's web UI and nothing else."""

import re

import pytest
from playwright.async_api import FrameLocator
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from activities.parking.visibility import Visibility
from billing.calls.call import EndedCall, call_workflow_id
from billing.parking.parked_work import ParkedFilter, Verdict
from devstack.demo.temporal import Operator
from devstack.stack import Stack
from store.ledger import wallets
from tests.support.factories import an_assistant, an_organization, balance_of, ended_call, keys_of
from tests.support.operations_document import (
    ORGANIZATION,
    View,
    documented_columns,
    documented_views,
)
from tests.support.parked_workflows import recorded, start_bill, until_parked
from tests.support.temporal_lists import until_listed
from tests.support.temporal_ui import TemporalUi, expect

ANN = "Ann: agreed on a higher debt limit"


async def two_calls_over_the_limit(
    temporal: Client, engine: AsyncEngine
) -> tuple[str, EndedCall, EndedCall]:
    """Calls of ten minutes (553 pence each) that an empty wallet with a limit of 500 cannot pay."""
    org_id = await an_organization(engine)
    assistant = await an_assistant(engine, org_id)
    calls = ended_call(assistant, 600), ended_call(assistant, 600)
    for call in calls:
        await until_parked(await start_bill(temporal, call), "debt_limit")
    return org_id, *calls


async def raise_the_limit(engine: AsyncEngine, org_id: str, debt_limit_minor: int) -> None:
    """In SQL, of which no workflow hears."""
    async with engine.begin() as connection:
        await wallets.set_debt_limit(connection, org_id, debt_limit_minor)


async def expect_explanation(page: FrameLocator, org_id: str, workflow_id: str) -> None:
    """What happened, the amounts, whose money, what to do, and commands to copy."""
    await expect(page.get_by_role("heading", name="Parked: debt_limit")).to_be_visible()
    for told in (
        "charged as 5.53 GBP",
        "its balance of 0.00 GBP would become -5.53 GBP, 0.53 GBP below the debt limit",
        "Nothing was charged.",
        f"Organisation: {org_id} · Money at risk: 5.53 GBP",
        "Since: 20",
        "it settles by itself, oldest first, when money arrives. Or raise the debt limit",
    ):
        await expect(page.locator("main")).to_contain_text(told)
    command = f"temporal workflow signal --namespace billing --workflow-id {workflow_id}"
    for signal in ("reprocess", "discard"):
        whole = f"{command} --name {signal} --input '\"your name: why\"'"
        shown = page.get_by_text(whole, exact=True)
        await shown.scroll_into_view_if_needed()
        await expect(shown).to_be_in_viewport(ratio=1)


@pytest.mark.always
async def test_a_person_finds_a_parked_call_reads_why_and_settles_it_by_a_signal(
    ui: TemporalUi, stack: Stack, worker: Client, engine: AsyncEngine
) -> None:
    org_id, call, other = await two_calls_over_the_limit(worker, engine)
    workflow_id, view = call_workflow_id(call.call_id), view_of(org_id)

    await until_listed(worker, org_id, 2)
    await ui.open_list(view.at(stack.temporal.ui_url), view.name)
    assert await ui.listed() == {workflow_id, call_workflow_id(other.call_id)}
    await expect_columns(ui, worker, org_id, workflow_id)
    await ui.open_workflow(workflow_id)
    await ui.expect_status("Running")
    await ui.open_explanation()
    await expect_explanation(ui.explanation, org_id, workflow_id)

    await raise_the_limit(engine, org_id, 553)
    await ui.send_signal("reprocess", "Try again now. One string: who you are and why.", ANN)
    await ui.expect_status("Completed")
    assert await keys_of(engine, org_id) == [f"call:{call.call_id}"]
    assert await balance_of(engine, org_id) == -553

    await ui.page.reload()
    await expect(ui.explanation.get_by_role("heading", name="Settled")).to_be_visible()
    await expect_decision(ui, engine, workflow_id, Verdict.REPROCESS)
    await until_listed(worker, org_id, 1)
    await ui.open_list(view.at(stack.temporal.ui_url), view.name)
    assert await ui.listed() == {call_workflow_id(other.call_id)}


async def test_a_person_gives_a_parked_call_up_by_a_signal(
    ui: TemporalUi, operator: Operator, worker: Client, engine: AsyncEngine
) -> None:
    org_id, call, _ = await two_calls_over_the_limit(worker, engine)
    workflow_id = call_workflow_id(call.call_id)
    await ui.page.goto(await operator.explanation(workflow_id))
    await ui.send_signal("discard", "Give it up for good. One string: who you are and why.", ANN)
    await ui.expect_status("Completed")
    await ui.page.reload()
    await expect(ui.explanation.get_by_role("heading", name="Discarded")).to_be_visible()
    await expect_decision(ui, engine, workflow_id, Verdict.DISCARD)
    assert await balance_of(engine, org_id) == 0


def view_of(org_id: str) -> View:
    """The view that the document has for one organisation."""
    return documented_views()["One organisation's"].with_(ORGANIZATION, org_id)


async def expect_columns(ui: TemporalUi, temporal: Client, org_id: str, workflow_id: str) -> None:
    """The columns that the document tells to add: whose, why, how much, since when."""
    waiting = (await Visibility(temporal).parked(ParkedFilter(org_id), 2)).items
    [since] = [one.since for one in waiting if one.workflow_id == workflow_id]
    await ui.choose_columns(add=documented_columns(), remove=())
    row = ui.row(workflow_id)
    for shown in (org_id, "debt_limit", "553"):
        await expect(row.get_by_role("cell", name=shown, exact=True)).to_be_visible()
    parked = re.compile(rf"{since.day} \w+ {since:%Y}, {since.hour}:{since:%M:%S}")
    await expect(row.get_by_role("cell", name=parked).last).to_be_visible()


async def expect_decision(
    ui: TemporalUi, engine: AsyncEngine, workflow_id: str, verdict: Verdict
) -> None:
    """Who and why is in the workflow's history, and was written down."""
    await ui.open_history()
    signal = await ui.expand("Workflow Execution Signaled", verdict)
    await expect(signal).to_contain_text(ANN)
    await expect(ui.event("record_decisions")).to_contain_text("write down who and why")
    [record] = await recorded(engine, workflow_id)
    assert (record.verdict, record.who_and_why, record.reason) == (verdict, ANN, "debt_limit")
