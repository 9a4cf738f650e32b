"""Auto-recharge: decide in PostgreSQL, and charge at Stripe."""
