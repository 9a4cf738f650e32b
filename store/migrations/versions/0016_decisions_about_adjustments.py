"""What people decided about adjustments, among all that they decided: who, why, when, verdict."""

from alembic import op

revision = "0016"
down_revision = "0015"

# As `billing.parking.adjustments` writes them from now on. A discard is there already, in the words
# in which it rejected the adjustment. What a worker of the last version still settles after this
# stands in `adjustments` only.
_COPY = r"""
INSERT INTO decisions
    (workflow_id, run_id, number, verdict, who_and_why, org_id, reason, decided_at)
SELECT 'adjustment/' || adjustment_id, '', 1, decision ->> 'verdict',
    left(btrim(
        concat_ws(', ',
            nullif(decision #>> '{by,name}', ''),
            concat(decision #>> '{by,label}', ' (key ' || (decision #>> '{by,key_id}') || ')')
        ) || ': ' || (decision ->> 'note'), E' \t\r\n'), 1000),
    org_id, CASE WHEN needs_approval THEN 'approval' END,
    CAST(decision ->> 'at' AS timestamptz)
FROM adjustments
WHERE decision IS NOT NULL AND NOT (
    decision ->> 'verdict' = 'rejected'
    AND decision #>> '{by,key_id}' IS NULL
    AND EXISTS (
        SELECT FROM decisions AS said
        WHERE said.workflow_id = 'adjustment/' || adjustment_id
          AND said.verdict = 'discard' AND said.who_and_why = decision ->> 'note'))
ORDER BY CAST(decision ->> 'at' AS timestamptz), position
ON CONFLICT DO NOTHING
"""


def upgrade() -> None:
    """Copy the old ones, once: no two can be about the same adjustment."""
    op.execute(_COPY)
