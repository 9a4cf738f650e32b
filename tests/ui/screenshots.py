"""Take the pictures of docs/images from a real system: `python -m tests.ui.screenshots`.

They show what an operator sees of work that waits: the list of it, and the page of one call.
"""

import asyncio
import dataclasses
import sys
import tempfile
import uuid
from datetime import timedelta
from pathlib import Path

from playwright.async_api import FloatRect, Locator

from billing.money import Currency
from devstack.demo.figures import balance, parked
from devstack.demo.platform import Tenant
from devstack.demo.traffic import PhoneCall
from devstack.demo.world import World, open_world
from devstack.stack import Stack
from tests.ui.browser import VIEWPORT, find_chromium, open_browser, open_page
from tests.ui.temporal_ui import TemporalUi, expect

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
COLUMNS = ("OrgId", "ParkReason", "AmountMinor")
MARGIN_PIXELS = 16


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
    await ui.page.goto(world.operator.parked_page())
    await ui.fold_navigation()
    await ui.choose_columns(add=COLUMNS, remove=("Status", "Run ID", "Type", "End"))
    await expect(ui.rows).to_have_count(len(DEAR_CALLS) + 2)
    await _shoot(ui, ui.rows.last, "parked-list.png")

    await ui.page.goto(await world.operator.explanation(example.workflow_id))
    await expect(ui.explanation.get_by_text("--name discard")).to_be_visible()
    await _shoot(ui, ui.page.locator("iframe").last, "parked-call.png")


async def _shoot(ui: TemporalUi, lowest: Locator, name: str) -> None:
    """Photograph the page down to `lowest`; what is below is empty."""
    await ui.page.mouse.move(0, 0)
    await ui.page.wait_for_timeout(1000)  # menus fold and frames grow, with animations
    box = await lowest.bounding_box()
    assert box is not None
    height = min(box["y"] + box["height"] + MARGIN_PIXELS, VIEWPORT["height"])
    clip = FloatRect(x=0, y=0, width=VIEWPORT["width"], height=height)
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
