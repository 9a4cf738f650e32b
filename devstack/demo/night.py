"""The nightly reconciliation: it finds a call whose report was lost, and bills it once."""

from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal

from billing.reconciliation.reconciliation import Report
from devstack.demo.check import Figure, exactly
from devstack.demo.figures import Figures, balance
from devstack.demo.platform import Tenant
from devstack.demo.traffic import PhoneCall
from devstack.demo.world import World

CALLS = 20
# US cents for a minute, from the tariff's published examples.
MINUTE = 70


async def lost_report(world: World) -> Figures:
    """Show that of twenty calls, one of whose reports is lost, 95 % arrive and all are charged."""
    tenant = world.globex
    *reported, lost = (_an_hour_ago(tenant, number) for number in range(CALLS))
    for call in (*reported, lost):
        await world.vapi.knows(call)
    for call in reported:
        await world.vapi.report_twice(call)
    tenant.due.extend(-MINUTE for _ in reported)
    yield await balance(world, tenant, f"{len(reported)} of {CALLS} calls reported")

    report = await world.platform.reconciled(tenant)
    tenant.due.append(-MINUTE)
    async for figure in _found(report, missing=1, percent=Decimal("95.00")):
        yield figure
    yield await balance(world, tenant, "the lost call is billed")
    world.exhibits["the reconciliation"] = world.operator.page(report.run.workflow_id)

    await world.vapi.report_twice(lost)
    again = await world.platform.reconciled(tenant)
    async for figure in _found(again, missing=0, percent=Decimal(100)):
        yield figure
    yield await balance(world, tenant, "its report comes late and costs nothing")


async def _found(report: Report, *, missing: int, percent: Decimal) -> AsyncIterator[Figure]:
    total = report.total
    found = (total.checked, total.missing, total.recovered)
    yield exactly("checked, missing, recovered", (CALLS, missing, missing), found)
    yield exactly(
        "reports that arrived, in %", f"{percent:.2f}", f"{total.reliability_percent:.2f}"
    )


def _an_hour_ago(tenant: Tenant, number: int) -> PhoneCall:
    """Return a call of a minute, an hour ago: reconciliation skips what has just ended."""
    call = PhoneCall(tenant.assistant_id, 60)
    earlier = timedelta(hours=1, minutes=number)
    return PhoneCall(tenant.assistant_id, 60, ended_at=call.ended_at - earlier)
