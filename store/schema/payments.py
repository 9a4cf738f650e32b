"""What is kept of payments beside their entries."""

from sqlalchemy import Boolean, Column, Index, Table

from store.schema.columns import metadata, moment, organization, recorded, string

stripe_customers = Table(
    "stripe_customers",
    metadata,
    organization(primary_key=True),
    string("customer_id", unique=True),
    recorded("created_at"),
)

# A trigger writes it when a customer is forgotten.
former_customers = Table(
    "former_customers",
    metadata,
    string("customer_id", primary_key=True),
    organization(),
    recorded("forgotten_at"),
    Index("former_customers_org", "org_id"),
)

# The card that is charged next. `saved_at` is when the payment was made that has saved it (NULL:
# it was only seen at Stripe), and without `is_default` Stripe has yet to be told.
saved_cards = Table(
    "saved_cards",
    metadata,
    organization(primary_key=True),
    string("customer_id"),
    string("payment_method_id", nullable=True),
    string("fingerprint", nullable=True),
    moment("saved_at", nullable=True),
    Column("is_default", Boolean, nullable=False),
    recorded("seen_at"),
)

discarded_payments = Table(
    "discarded_payments",
    metadata,
    string("payment_id", primary_key=True),
    string("note"),
    recorded("discarded_at"),
)
