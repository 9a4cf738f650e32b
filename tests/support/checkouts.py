"""Start and join checkouts as the API does."""

from temporalio.client import Client, WithStartWorkflowOperation, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy

from billing.ledger.money import Currency, Money
from billing.payments.checkout import CheckoutSession, NewCheckout
from workflows import checkout
from workflows.checkout import Checkout

SESSIONS = "/v1/checkout/sessions"
Process = WorkflowHandle[Checkout, CheckoutSession | None]


def top_up(org_id: str, amount_minor: int = 2500) -> NewCheckout:
    page = "https://app.example/wallet"
    return NewCheckout(org_id, Money(amount_minor, Currency.GBP), page, page)


async def start(temporal: Client, wanted: NewCheckout) -> Process:
    return await temporal.start_workflow(Checkout.run, wanted, **checkout.start_options(wanted))


async def ask(temporal: Client, wanted: NewCheckout) -> CheckoutSession:
    start = WithStartWorkflowOperation(
        Checkout.run,
        wanted,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        **checkout.start_options(wanted),
    )
    session: CheckoutSession = await temporal.execute_update_with_start_workflow(
        "join", result_type=CheckoutSession, start_workflow_operation=start
    )
    return session
