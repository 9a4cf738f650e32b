"""What a call waits for, apart from what it was charged; and corrections that a person gave up."""

from alembic import op

revision = "0018"
down_revision = "0017"

_COLUMNS = """
ALTER TABLE calls
    ADD COLUMN waiting_minor bigint,
    ADD COLUMN correction_given_up boolean NOT NULL DEFAULT false"""

# The charge of a call and its corrections together are what it has cost.
_BOOKED = """
SELECT coalesce(reverses, key) AS charge, currency, sum(
    CASE WHEN debit_account = 'wallet:' || org_id THEN amount_minor ELSE -amount_minor END) AS net
FROM ledger_entries WHERE kind IN ('call', 'correction') GROUP BY 1, 2"""

# Up to now a call of which only a correction was given up was called discarded, though it is paid.
_DISCARDED = f"""
UPDATE calls SET state = 'settled', correction_given_up = true,
    amount_minor = net, currency = booked.currency, updated_at = now()
FROM ({_BOOKED}) AS booked
WHERE state = 'discarded' AND charge = 'call:' || call_id"""  # noqa: S608

_WAITING = f"""
UPDATE calls SET waiting_minor = amount_minor - net
FROM ({_BOOKED}) AS booked
WHERE state = 'debt_limit' AND charge = 'call:' || call_id AND amount_minor > net"""  # noqa: S608


def upgrade() -> None:
    """Add the columns; NULL in the first means that all of a waiting call's amount waits."""
    op.execute(_COLUMNS)
    op.execute(_DISCARDED)
    op.execute(_WAITING)
