"""A parked call in the hands of somebody who has Temporal's web UI and nothing else."""

from playwright.async_api import FrameLocator
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from billing.call import EndedCall, call_workflow_id
from devstack.demo.temporal import Operator
from store import wallets
from tests.factories import an_assistant, an_organization, balance_of, ended_call, keys_of
from tests.ui.temporal_ui import TemporalUi, expect
from tests.waiting import eventually
from tests.workflows.parked import start_bill, until_parked

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


async def test_a_person_finds_a_parked_call_reads_why_and_settles_it_by_a_signal(
    ui: TemporalUi, operator: Operator, worker: Client, engine: AsyncEngine
) -> None:
    org_id, call, other = await two_calls_over_the_limit(worker, engine)
    workflow_id = call_workflow_id(call.call_id)

    await find(ui, operator, org_id, {call, other})
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
    await find(ui, operator, org_id, {other})


async def test_a_person_gives_a_parked_call_up_by_a_signal(
    ui: TemporalUi, operator: Operator, worker: Client, engine: AsyncEngine
) -> None:
    org_id, call, _ = await two_calls_over_the_limit(worker, engine)
    await ui.page.goto(await operator.explanation(call_workflow_id(call.call_id)))
    await ui.send_signal("discard", "Give it up for good. One string: who you are and why.", ANN)
    await ui.expect_status("Completed")
    await ui.page.reload()
    await expect(ui.explanation.get_by_role("heading", name="Discarded")).to_be_visible()
    assert await balance_of(engine, org_id) == 0


async def find(ui: TemporalUi, operator: Operator, org_id: str, calls: set[EndedCall]) -> None:
    """Open the saved view of all that is parked and keep one organisation's: exactly these.

    Lists lag behind by a moment.
    """
    wanted = {call_workflow_id(call.call_id) for call in calls}

    async def are_listed() -> bool:
        await ui.page.goto(operator.parked_page())
        await ui.keep_only("OrgId", org_id)
        await expect(ui.rows.filter(has_text="call/").first).to_be_visible()
        links = ui.rows.get_by_role("link", name="call/")
        return set(await links.all_inner_texts()) == wanted

    await eventually(are_listed)
