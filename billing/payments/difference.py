"""In what Stripe says of a payment today and what the ledger has credited for it differ."""

from enum import StrEnum

from billing.ledger.entry import Entry
from billing.payments.payment import OUR_PAYMENT_TYPES, Payment, received


class Difference(StrEnum):
    """What differs. The credit stays, and what goes back goes back from where it was credited."""

    ORGANIZATION = "organization"
    TYPE = "type"
    CUSTOMER = "customer"
    AMOUNT = "amount"
    STATUS = "status"


def differences(
    payment: Payment, credit: Entry, customer_id: str | None = None
) -> tuple[Difference, ...]:
    """Return in what a payment differs from its credit; nothing of it changes an entry.

    `customer_id` is the customer at Stripe of the organisation that was credited. What Stripe does
    not say differs from nothing. Nor does the currency: `billing.payments.payment.mismatch` asks.
    """
    named = {payment.org_id, payment.session_org_id} - {None, credit.org_id}
    is_of_other_type = payment.type is not None and payment.type not in OUR_PAYMENT_TYPES
    is_of_other_customer = None not in (payment.customer_id, customer_id) and (
        payment.customer_id != customer_id
    )
    found = {
        Difference.ORGANIZATION: bool(named),
        Difference.TYPE: is_of_other_type,
        Difference.CUSTOMER: is_of_other_customer,
        Difference.AMOUNT: received(payment) != credit.amount,
        Difference.STATUS: payment.status != "succeeded",
    }
    return tuple(one for one, differs in found.items() if differs)
