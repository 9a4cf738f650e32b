"""Take the pictures of docs/images from a real system: `python -m tests.ui.screenshots`.

They show what an operator sees of work that waits: the list of it, the page of one call, and how
far a decision about many is.
"""

import asyncio
import dataclasses
import sys
import tempfile
import uuid
from datetime import timedelta
from pathlib import Path

from playwright.async_api import FloatRect, Locator, ViewportSize

from billing.ledger.money import Currency
from devstack.demo.figures import balance, parked
from devstack.demo.platform import Tenant
from devstack.demo.traffic import PhoneCall
from devstack.demo.world import World, open_world
from devstack.stack import Stack
from tests.support.browser import find_chromium, open_browser, open_page
from tests.support.operations_document import documented_columns, documented_views
from tests.support.temporal_ui import TemporalUi, expect
from workflows.decide_parked import DecideParked

IMAGES = Path(__file__).parents[2] / "docs" / "images"
# Parked calls by organisation and in seconds, each more than its wallet can pay.
DEAR_CALLS = (
    ("harbour-hotels", 2405),
    ("brightline-logistics", 1742),
    ("northwind-dental", 2213),
    ("brightline-logistics", 1911),
    ("northwind-dental", 1380),
)
TOPPED_UP_MINOR, FIRST_CALL_SECONDS, FIRST_CALL_MINOR = 2000, 1500, 1383
# What the view leaves out to have room for the columns that the document tells to add.
LEFT_OUT = ("Status", "Run ID", "Type", "Start", "End")
LOAD_TEST_CALLS, LOAD_TEST_SECONDS = 18, 1300
TOLD_BEFORE_THE_PICTURE = 5
MARGIN_PIXELS = 16
# High enough for a whole explanation, whichever fonts the machine has.
WINDOW = ViewportSize(width=1400, height=1200)


async def main() -> None:
    """Start the whole stack in a folder of its own, let work park, and look at it."""
    if (chromium := find_chromium()) is None:
        sys.exit("no chromium is installed (Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory() as state:
        async with Stack(Path(state)) as stack, open_world(stack) as world:
            example = await _let_work_park(world)
            async with open_browser(chromium) as browser, open_page(browser) as page:
                await _take(world, TemporalUi(page), example)


async def _take(world: World, ui: TemporalUi, example: PhoneCall) -> None:
    IMAGES.mkdir(exist_ok=True)
    await ui.page.set_viewport_size(WINDOW)
    await _take_list(world, ui)
    await ui.page.goto(await world.operator.explanation(example.workflow_id))
    await expect(ui.explanation.get_by_text("--name discard")).to_be_visible()
    await _shoot(ui, ui.page.locator("iframe").last, "parked-call.png")
    await _take_bulk_decision(world, ui, example)


async def _take_list(world: World, ui: TemporalUi) -> None:
    view = documented_views()["Parked"]
    await ui.open_list(view.at(world.operator.ui_url), view.name)
    await ui.fold_navigation()
    await ui.choose_columns(add=documented_columns(), remove=LEFT_OUT)
    await expect(ui.rows).to_have_count(len(DEAR_CALLS) + 2)
    await _shoot(ui, ui.rows.last, "parked-list.png")


async def _take_bulk_decision(world: World, ui: TemporalUi, example: PhoneCall) -> None:
    for _ in range(LOAD_TEST_CALLS):
        call = PhoneCall(example.assistant_id, LOAD_TEST_SECONDS)
        await _park(world, call, "debt_limit")
    workflow_id = await _discard_what_waits_for_money(world, "northwind-dental")
    await ui.page.goto(await world.operator.explanation(workflow_id))
    bulk = world.operator.client.get_workflow_handle(workflow_id)
    while (await bulk.query(DecideParked.progress)).told < TOLD_BEFORE_THE_PICTURE:
        await ui.page.wait_for_timeout(500)
    await ui.page.keyboard.press("r")
    await _shoot(ui, ui.page.locator("iframe").last, "bulk-decision.png")


async def _discard_what_waits_for_money(world: World, org_id: str) -> str:
    """As somebody with a key called by their name; answers with the workflow's id."""
    http = world.platform.http
    issued = (await http.post("/v1/api-keys", json={"label": "Ana"})).raise_for_status().json()
    new = {
        "verdict": "discard",
        "org_id": org_id,
        "reason": "debt_limit",
        "note": "a load test, agreed with the customer, ticket 4711",
        "per_second": 1,
    }
    headers = {"Authorization": f"Bearer {issued['secret']}"}
    begun = await http.post("/v1/bulk-decisions", json=new, headers=headers)
    return str(begun.raise_for_status().json()["workflow_id"])


async def _shoot(ui: TemporalUi, lowest: Locator, name: str) -> None:
    """Photograph the page down to `lowest`; what is below is empty."""
    await ui.page.mouse.move(0, 0)
    await ui.page.wait_for_timeout(1000)  # menus fold and frames grow, with animations
    box = await lowest.bounding_box()
    assert box is not None
    height = box["y"] + box["height"] + MARGIN_PIXELS
    assert height <= WINDOW["height"], "it does not fit"
    clip = FloatRect(x=0, y=0, width=WINDOW["width"], height=height)
    await ui.page.screenshot(path=IMAGES / name, clip=clip)
    sys.stdout.write(f"docs/images/{name}\n")


async def _let_work_park(world: World) -> PhoneCall:
    """Reports of calls that cannot be settled, for three reasons; answers with the last of them."""
    org_ids = sorted({org_id for org_id, _ in DEAR_CALLS})
    tenants = {org_id: await _customer(world, org_id) for org_id in org_ids}
    await _park(world, PhoneCall(str(uuid.uuid4()), 312), "unknown_assistant")
    hotel = tenants["harbour-hotels"].assistant_id
    await _park(world, PhoneCall(hotel, 95), "call_missing", omit=("startedAt", "durationSeconds"))
    for org_id, seconds in DEAR_CALLS:
        last = PhoneCall(tenants[org_id].assistant_id, seconds)
        await _park(world, last, "debt_limit")
    return last


async def _customer(world: World, org_id: str) -> Tenant:
    """An organisation whose first call has used up most of what it has paid."""
    name = org_id.replace("-", " ").title()
    tenant = Tenant(org_id, name, Currency.GBP, str(uuid.uuid4()))
    await world.platform.create(tenant)
    await world.tops_up(tenant, TOPPED_UP_MINOR)
    await balance(world, tenant, "topped up")
    call = PhoneCall(tenant.assistant_id, FIRST_CALL_SECONDS)
    earlier = dataclasses.replace(call, ended_at=call.ended_at - timedelta(hours=1))
    await world.vapi.report_twice(earlier)
    tenant.due.append(-FIRST_CALL_MINOR)
    await balance(world, tenant, "charged")
    return tenant


async def _park(world: World, call: PhoneCall, reason: str, omit: tuple[str, ...] = ()) -> None:
    await world.vapi.report_twice(call, omit=omit)
    figure = await parked(world, call, reason)
    assert figure.agrees, figure.complaint()


if __name__ == "__main__":
    asyncio.run(main())
