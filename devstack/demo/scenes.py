"""The scenes of the demo. Each yields figures; `run` stops at the first that is wrong.

The expected figures are constants: they come from the tariff's published examples, not from the
code that the demo shows.
"""

from collections import Counter
from itertools import cycle, islice

from billing.calls.call import CallState
from billing.payments.payment import payment_workflow_id
from devstack.demo.check import at_least, becomes, exactly
from devstack.demo.figures import (
    DONE,
    Figures,
    balance,
    charges,
    counted,
    signed_entries,
    stripe_answers,
)
from devstack.demo.traffic import AUTH_MODES, TWICE, PhoneCall
from devstack.demo.world import World
from workflows.drain_inbox import WORKFLOW_ID as DRAIN

# Pence and US cents by seconds: 70 cents a minute, each step of the computation rounded up.
PENCE = {
    1: 2, 15: 15, 30: 28, 59: 55, 60: 56, 61: 57, 90: 83, 91: 85, 120: 111, 180: 166, 210: 194,
    300: 277, 600: 553, 1800: 1659, 3600: 3318,
}  # fmt: skip
CENTS = {1: 2, 60: 70, 61: 72, 90: 105, 600: 700}

FLOOD_CALLS, FLOOD_CONNECTIONS = 240, 8
FLOOD_SECONDS = (15, 30, 60, 90, 120)


async def topups(world: World) -> Figures:
    """Show that top-ups are credited, in whatever order and however often Stripe's events come."""
    await world.customer.webhooks_travel(copies=2, reverse=False, paused=False)
    payment_id = await world.tops_up(world.acme, 7500)
    world.exhibits["a settled payment"] = world.operator.page(payment_workflow_id(payment_id))
    await world.tops_up(world.globex, 2500)
    yield await balance(world, world.acme, "topped up, events in order")
    yield await balance(world, world.globex, "topped up, events in order")
    await world.customer.webhooks_travel(reverse=True)
    await world.tops_up(world.acme, 2500)
    await world.tops_up(world.hooli, 20000)
    yield await balance(world, world.acme, "topped up, events in reverse")
    yield await balance(world, world.hooli, "topped up, events in reverse")
    await world.customer.webhooks_travel(reverse=False)
    yield await stripe_answers(world)


async def calls(world: World) -> Figures:
    """Show that calls are charged by the tariff, once, whichever way Vapi signs its reports."""
    gbp = [PhoneCall(world.acme.assistant_id, seconds) for seconds in PENCE]
    usd = [PhoneCall(world.globex.assistant_id, seconds) for seconds in CENTS]
    yield exactly("a report with a wrong secret", "401", await world.vapi.forge(gbp[0]))
    updates = [await world.vapi.send(call.status("in-progress")) for call in gbp]
    yield exactly("status-updates before the reports", "15 ignored", counted(Counter(updates)))
    before = Counter(world.vapi.answers)
    for call, auth in zip([*gbp, *usd], cycle(AUTH_MODES), strict=False):
        await world.vapi.report_twice(call, auth)
    answers = counted(world.vapi.answers - before)
    yield exactly("20 reports twice, signed in three ways", "20 accepted, 20 duplicate", answers)
    world.acme.due.extend(-pence for pence in PENCE.values())
    world.globex.due.extend(-cents for cents in CENTS.values())
    for tenant, ended, figures in ((world.acme, gbp, PENCE), (world.globex, usd, CENTS)):
        yield await balance(world, tenant, f"{len(ended)} calls charged")
        yield await charges(world, tenant, figures)
    settled = gbp[0].workflow_id
    world.exhibits["a settled call"] = world.operator.page(settled)
    yield await becomes(
        "the workflow of the first call", DONE, lambda: world.operator.state(settled)
    )


async def flood(world: World) -> Figures:
    """Show that a flood of calls is charged in batches, and none is lost or charged twice."""
    quiet = PhoneCall(world.hooli.assistant_id, FLOOD_SECONDS[0])
    await world.vapi.report_twice(quiet)
    world.hooli.due.append(-PENCE[quiet.seconds])
    yield await becomes(
        "a call before the flood: its own workflow",
        DONE,
        lambda: world.operator.state(quiet.workflow_id),
    )
    seconds = list(islice(cycle(FLOOD_SECONDS), FLOOD_CALLS))
    ended = [PhoneCall(world.hooli.assistant_id, one) for one in seconds]
    before = Counter(world.vapi.answers)
    await world.vapi.flood(ended, FLOOD_CONNECTIONS)
    answers = counted(world.vapi.answers - before)
    what = f"{FLOOD_CALLS} reports twice on {FLOOD_CONNECTIONS} connections"
    yield exactly(what, f"{FLOOD_CALLS} accepted, {FLOOD_CALLS} duplicate", answers)
    world.hooli.due.extend(-PENCE[one] for one in seconds)
    yield await balance(world, world.hooli, f"{FLOOD_CALLS} more calls charged")
    settled_by = Counter(
        DRAIN if call.workflow_id == DRAIN else "call/…"
        for call in await world.platform.calls(world.hooli)
        if call.state is CallState.SETTLED
    )
    yield exactly("calls settled in either lane", FLOOD_CALLS + 1, settled_by.total())
    yield at_least(f"of them in batches by {DRAIN}", 100, settled_by[DRAIN])


async def totals(world: World) -> Figures:
    """Show that each balance is the sum of its entries, and what the scenes come to."""
    for tenant in world.tenants:
        entries = await signed_entries(world, tenant)
        yield exactly(f"{tenant.name}: entries in the ledger", len(tenant.due), len(entries))
        yield exactly(
            f"{tenant.name}: sum of its entries", tenant.due_balance, tenant.money(sum(entries))
        )
        found = await world.platform.balance(tenant)
        yield exactly(f"{tenant.name}: balance", tenant.due_balance, found)
    reported = world.vapi.answers.total() // TWICE
    expected = f"{reported} accepted, {reported} duplicate"
    yield exactly("answers to Vapi's reports", expected, counted(world.vapi.answers))
    yield await stripe_answers(world)
