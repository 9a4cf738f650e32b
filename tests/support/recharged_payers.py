"""Make organisations that are recharged by a saved card, and read what Stripe and we know of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from billing.inbox.webhook_event import PaymentHint
from billing.recharges.attempt import Attempt, AttemptState
from billing.recharges.history import RechargeHistory, RechargeSettings
from billing.recharges.recharge import recharge_workflow_id
from store.payments import customers
from store.recharges import recharge_settings, recharges
from tests.support.eventually import eventually
from tests.support.factories import NOON, an_organization, unique, wallet_of
from tests.support.stand_ins import StripeStandIn
from workflows import settle_payment
from workflows.auto_recharge import AutoRecharge
from workflows.settle_payment import SettlePayment
from workflows.shared import recharge_requests

Recharge = WorkflowHandle[AutoRecharge, None]
RETURN_URL = "https://platform.example/billing"


@dataclass(frozen=True)
class Payer:
    org_id: str
    customer_id: str
    card_id: str


async def a_payer(
    engine: AsyncEngine,
    stripe: StripeStandIn,
    balance_minor: int = 600,
    card: str = "pm_card_visa",
    **settings: Any,
) -> Payer:
    """Make an organisation with a saved card, whose wallet is recharged by 50.00 below 5.00."""
    org_id = await an_organization(engine, balance_minor)
    made = (await stripe.http.post("/v1/customers")).raise_for_status().json()
    async with engine.begin() as connection:
        await customers.remember(connection, org_id, made["id"])
    payer = Payer(org_id, made["id"], await save_card(stripe, made["id"], card))
    await configure(engine, org_id, **settings)
    return payer


async def configure(engine: AsyncEngine, org_id: str, **settings: Any) -> None:
    wanted = RechargeSettings(**{"enabled": True, "return_url": RETURN_URL, **settings})
    async with engine.begin() as connection:
        await recharge_settings.configure(connection, org_id, wanted)


async def save_card(stripe: StripeStandIn, customer_id: str, card: str = "pm_card_visa") -> str:
    """Save a card, and make it the one that is charged; return its id."""
    path = f"/v1/payment_methods/{card}/attach"
    saved = (await stripe.http.post(path, data={"customer": customer_id})).raise_for_status()
    default = {"invoice_settings[default_payment_method]": saved.json()["id"]}
    (await stripe.http.post(f"/v1/customers/{customer_id}", data=default)).raise_for_status()
    return str(saved.json()["id"])


async def card_becomes(stripe: StripeStandIn, card_id: str, behaviour: str) -> None:
    """Make a saved card act like another test card."""
    path = f"/_control/payment_methods/{card_id}"
    (await stripe.http.post(path, json={"behaviour": behaviour})).raise_for_status()


async def charges_fail(stripe: StripeStandIn, **fault: Any) -> None:
    """Make requests that create payments fail, once unless `fault` says otherwise."""
    await stripe_fails(stripe, "POST", "/v1/payment_intents", **fault)


async def stripe_fails(stripe: StripeStandIn, method: str, path: str, **fault: Any) -> None:
    wanted = {"method": method, "path": path, **fault}
    (await stripe.http.post("/_control/faults", json=wanted)).raise_for_status()


async def payments(stripe: StripeStandIn, payer: Payer) -> list[dict[str, Any]]:
    """Read every PaymentIntent of a customer, oldest first."""
    asked: dict[str, str | int] = {"customer": payer.customer_id, "limit": 100}
    page = (await stripe.http.get("/v1/payment_intents", params=asked)).raise_for_status().json()
    return list(reversed(page["data"]))


async def standing_of(engine: AsyncEngine, payer: Payer) -> RechargeHistory:
    wallet = await wallet_of(engine, payer.org_id)
    async with engine.connect() as connection:
        return await recharges.history(connection, wallet, NOON)


async def attempts_of(engine: AsyncEngine, payer: Payer) -> list[Attempt]:
    return (await standing_of(engine, payer)).own


async def states_of(engine: AsyncEngine, payer: Payer) -> list[AttemptState]:
    return [one.state for one in await attempts_of(engine, payer)]


async def settle(temporal: Client, payment_id: str) -> None:
    """Run the payment's process, as an event about it does."""
    hint = PaymentHint(payment_id, unique("evt"))
    await temporal.execute_workflow(
        SettlePayment.run, hint, **settle_payment.start_options(payment_id)
    )


async def top_up(
    temporal: Client, stripe: StripeStandIn, payer: Payer, paid_minor: int = 2500
) -> str:
    """Let the customer pay by hand, and run the payment's process; return the payment's id."""
    payment_id = await stripe.payment(payer.org_id, paid_minor)
    await settle(temporal, payment_id)
    return payment_id


async def recharge(temporal: Client, payer: Payer, signal: str = "crossed") -> Recharge:
    """Start or signal the recharge, as a call that crosses the threshold does."""
    return await temporal.start_workflow(
        AutoRecharge.run,
        payer.org_id,
        start_signal=signal,
        start_signal_args=["a test"],
        **recharge_requests.start_options(payer.org_id),
    )


def handle_of(temporal: Client, payer: Payer) -> Recharge:
    return temporal.get_workflow_handle(recharge_workflow_id(payer.org_id))


async def until_over(temporal: Client, payer: Payer) -> None:
    """Wait until the organisation's recharge process has ended."""
    handle = handle_of(temporal, payer)

    async def over() -> bool:
        try:
            found = (await handle.describe()).status
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return False
        return found is WorkflowExecutionStatus.COMPLETED

    assert await eventually(over)


async def until_states(engine: AsyncEngine, payer: Payer, states: Iterable[AttemptState]) -> None:
    """Wait until an organisation's attempts have these states, oldest first."""
    wanted = list(states)

    async def there() -> bool:
        return await states_of(engine, payer) == wanted

    await eventually(there)
