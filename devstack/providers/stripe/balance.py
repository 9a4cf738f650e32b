"""Balance transactions: what moved in or out of the platform's balance at Stripe."""

from devstack.providers.storage import JsonObject
from devstack.providers.stripe import objects
from devstack.providers.stripe.account import Account


def book(
    account: Account,
    source: JsonObject,
    amount: int,
    *,
    type_: str,
    category: str,
    description: str,
    fee: int = 0,
) -> JsonObject:
    """Book what an object moved. `amount` is without the fee, and below zero if it leaves."""
    now = account.clock.seconds()
    detail = {"amount": fee, "application": None, "currency": source["currency"]}
    detail |= {"description": "Dispute fee", "type": "stripe_fee"}
    transaction = objects.new(
        "balance_transaction",
        now,
        amount=amount,
        available_on=now,
        balance_type="payments",
        currency=source["currency"],
        description=description,
        fee=fee,
        fee_details=[detail] if fee else [],
        net=amount - fee,
        reporting_category=category,
        source=source["id"],
        status="available",
        type=type_,
    )
    return account.save(transaction)
