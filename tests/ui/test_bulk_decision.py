"""A decision about many, followed on its page by the person who made it."""

import re

from playwright.async_api import Locator
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from activities.parking.visibility import Visibility
from billing.parking.parked_work import ParkedFilter
from devstack.stack import Stack
from tests.support.api_server import serving
from tests.support.eventually import eventually
from tests.support.parked_workflows import calls_that_wait
from tests.support.temporal_ui import TemporalUi, expect
from workflows.decide_parked import DecideParked

# One a second: telling them takes longer than opening a page, however busy the machine is.
MANY = 30
WHY = "a load test, agreed with Ben"


async def decide(
    temporal: Client, ui_url: str, engine: AsyncEngine, org_id: str
) -> tuple[str, str]:
    """Give up all that an organisation has parked, by the API; answers with workflow and page."""
    workflows_url = f"{ui_url}/namespaces/{temporal.namespace}/workflows"
    new = {"verdict": "discard", "org_id": org_id, "note": WHY, "per_second": 1}
    async with serving(engine, temporal, workflows_url=workflows_url) as api:
        answer = await api.operator.post("/v1/bulk-decisions", json=new)
    bulk = answer.raise_for_status().json()
    return bulk["workflow_id"], bulk["url"]


async def told(page: Locator) -> int:
    """How many were told, as the page has it."""
    shown = re.search(rf"Matched: {MANY} · Told: (\d+) · Gone: 0", await page.inner_text())
    assert shown is not None
    return int(shown[1])


async def test_a_person_follows_a_decision_about_many_and_stops_it(
    ui: TemporalUi, stack: Stack, worker: Client, engine: AsyncEngine
) -> None:
    org_id, _ = await calls_that_wait(worker, engine, MANY)
    workflow_id, address = await decide(worker, stack.temporal.ui_url, engine, org_id)
    await ui.page.goto(address)
    await ui.expect_status("Running")
    await ui.open_explanation()
    title, page = f"Discard what is parked: of {org_id}", ui.explanation.locator("main")
    await expect(page.get_by_role("heading", name=title)).to_be_visible()
    # The UI writes an apostrophe of its own.
    who_and_why = re.compile(rf"Who and why\. the tests. operator \(\w+\): {WHY}")
    await expect(page).to_contain_text(who_and_why)
    await expect(page).to_contain_text("To stop it: More Actions, Terminate.")

    at_first = await told(page)
    bulk = worker.get_workflow_handle(workflow_id)

    async def is_further() -> bool:
        return (await bulk.query(DecideParked.progress)).told > at_first

    await eventually(is_further)
    await ui.page.keyboard.press("r")
    await expect(page).not_to_contain_text(f"Told: {at_first} ·")
    assert at_first < await told(page) < MANY

    await ui.terminate("Ann: not those")
    await ui.expect_status("Terminated")
    assert 0 < await Visibility(worker).count(ParkedFilter(org_id)) < MANY
