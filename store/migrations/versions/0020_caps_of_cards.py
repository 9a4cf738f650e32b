"""What organisations that are recharged today keep being charged, above the caps by default."""

from alembic import op

revision = "0020"
down_revision = "0019"

_COLUMNS = """
ALTER TABLE recharge_settings
    ADD COLUMN kept_charge_minor bigint,
    ADD COLUMN kept_day_minor bigint
"""
# A refill from the debt limit up is the largest that an organisation asked for. Of a day it keeps
# as many of these as its own caps allow; 1,000 is the most that a cap can be.
_KEEP = """
UPDATE recharge_settings AS wanted
SET kept_charge_minor = kept.charge_minor,
    kept_day_minor = least(
        kept.charge_minor * coalesce(wanted.max_per_day, wanted.max_per_month, 1000),
        wanted.max_minor_per_day,
        wanted.max_minor_per_month)
FROM (
    SELECT org_id, least(
        coalesce(refill_to_minor + debt_limit_minor, amount_minor), 99999999) AS charge_minor
    FROM recharge_settings JOIN wallets USING (org_id)) AS kept
WHERE kept.org_id = wanted.org_id AND wanted.enabled
"""


def upgrade() -> None:
    """Keep for each its own amount or refill, and as many a day as its own caps allow."""
    op.execute(_COLUMNS)
    op.execute(_KEEP)
