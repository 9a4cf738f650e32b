"""The figures that several scenes have."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping

from billing.ledger.entry import wallet_account
from devstack.demo.check import Figure, becomes
from devstack.demo.platform import Tenant
from devstack.demo.traffic import PhoneCall
from devstack.demo.world import World

Figures = AsyncIterator[Figure]
Scene = Callable[[World], Figures]
DONE = "COMPLETED, settled"


async def balance(world: World, tenant: Tenant, why: str) -> Figure:
    """Wait until the balance is what is due by now; return the figure."""
    return await becomes(
        f"{tenant.name}: {why}", tenant.due_balance, lambda: world.platform.balance(tenant)
    )


async def charges(world: World, tenant: Tenant, tariff: Mapping[int, int]) -> Figure:
    """Wait until the calls cost what `tariff` says (minor units by seconds); return the figure."""

    async def found() -> str:
        settled = [call.charge for call in await world.platform.calls(tenant) if call.charge]
        each = sorted((charge.billed_seconds, charge.amount.amount_minor) for charge in settled)
        return _rates(each)

    minor = {"gbp": "pence", "usd": "cents"}[tenant.currency]
    return await becomes(f"{tenant.name}: {minor} for seconds", _rates(tariff.items()), found)


async def parked(world: World, call: PhoneCall, reason: str) -> Figure:
    """Wait until Temporal lists the call as parked for this reason; return the figure."""
    return await becomes(
        f"a call of {call.seconds} s, listed as parked",
        reason,
        lambda: world.operator.parked(call.call_id),
    )


async def settled(world: World, call: PhoneCall) -> Figure:
    """Wait until the call's workflow has settled it and ended; return the figure."""
    return await becomes(
        f"the workflow of the call of {call.seconds} s",
        DONE,
        lambda: world.operator.state(call.workflow_id),
    )


async def signed_entries(world: World, tenant: Tenant) -> list[int]:
    """Return by how much each entry changed the wallet, oldest first."""
    mine = wallet_account(tenant.org_id)
    return [
        entry.amount.amount_minor * (-1 if entry.debit_account == mine else 1)
        for entry in await world.platform.entries(tenant)
    ]


async def stripe_answers(world: World) -> Figure:
    """Wait until all events of the payments are answered; return the figure.

    Each payment has two events that count, and each of them came twice.
    """
    events = 2 * len(world.payments)

    async def found() -> str:
        return counted(await world.customer.answers(world.payments))

    what = f"answers to Stripe's events about {len(world.payments)} payments"
    return await becomes(what, f"{events} accepted, {events} duplicate", found)


def counted(answers: Counter[str]) -> str:
    """Write a count of answers, sorted, so that two can be compared."""
    return ", ".join(f"{count} {answer}" for answer, count in sorted(answers.items()))


def _rates(pairs: Iterable[tuple[int, int]]) -> str:
    return ", ".join(f"{minor} for {seconds}" for seconds, minor in pairs)
