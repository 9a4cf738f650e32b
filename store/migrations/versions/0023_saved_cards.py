"""The saved card of each organisation, its former customers, and the caps that operators set."""

from alembic import op

revision = "0023"
down_revision = "0022"

_SAVED_CARDS = """
CREATE TABLE saved_cards (
    org_id            text PRIMARY KEY REFERENCES organizations,
    customer_id       text NOT NULL,
    payment_method_id text,
    fingerprint       text,
    saved_at          timestamptz,
    is_default        boolean NOT NULL,
    seen_at           timestamptz NOT NULL DEFAULT now()
)
"""
_FORMER_CUSTOMERS = """
CREATE TABLE former_customers (
    customer_id  text PRIMARY KEY,
    org_id       text NOT NULL REFERENCES organizations,
    forgotten_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX former_customers_org ON former_customers (org_id);
"""
# Whoever forgets a customer, by hand as well: what it has paid stays its organisation's.
_KEPT = """
CREATE FUNCTION keep_former_customers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR NEW.customer_id <> OLD.customer_id THEN
        INSERT INTO former_customers (customer_id, org_id) VALUES (OLD.customer_id, OLD.org_id)
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER stripe_customers_kept AFTER DELETE OR UPDATE ON stripe_customers
    FOR EACH ROW EXECUTE FUNCTION keep_former_customers();
"""
_CARD_CAPS = """
CREATE TABLE card_caps (
    cap_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org_id       text NOT NULL REFERENCES organizations,
    charge_minor bigint,
    day_minor    bigint,
    who_and_why  text NOT NULL,
    set_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX card_caps_org ON card_caps (org_id, cap_id);
"""


def upgrade() -> None:
    """Add the tables. The version before goes on without them: it looks at Stripe each time."""
    op.execute(_SAVED_CARDS)
    op.execute(_FORMER_CUSTOMERS)
    op.execute(_KEPT)
    op.execute(_CARD_CAPS)
