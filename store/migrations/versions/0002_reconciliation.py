"""Reconciliation: one row a run, one a finding, and how much was checked on which day."""

from alembic import op

revision = "0002"
down_revision = "0001"

_TABLES = """
CREATE TABLE reconciliation_runs (
    run_id       text PRIMARY KEY,
    source       text NOT NULL,
    workflow_id  text NOT NULL,
    org_id       text REFERENCES organizations,
    dry_run      boolean NOT NULL,
    daily        boolean NOT NULL,
    since        timestamptz NOT NULL,
    until        timestamptz NOT NULL,
    status       text NOT NULL,
    started_at   timestamptz NOT NULL,
    finished_at  timestamptz,
    pages        integer NOT NULL DEFAULT 0,
    reached      timestamptz,
    problem      text NOT NULL DEFAULT '',
    position     bigint GENERATED ALWAYS AS IDENTITY
);
CREATE INDEX reconciliation_runs_position ON reconciliation_runs (position);
CREATE INDEX reconciliation_runs_succeeded ON reconciliation_runs (source, until)
    WHERE daily AND NOT dry_run AND status = 'succeeded';

CREATE TABLE reconciliation_days (
    run_id   text NOT NULL REFERENCES reconciliation_runs,
    org_id   text REFERENCES organizations,
    day      date NOT NULL,
    checked  integer NOT NULL,
    CONSTRAINT reconciliation_days_once UNIQUE NULLS NOT DISTINCT (run_id, org_id, day)
);
CREATE INDEX reconciliation_days_day ON reconciliation_days (day);

CREATE TABLE reconciliation_findings (
    position      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id        text NOT NULL REFERENCES reconciliation_runs,
    subject       text NOT NULL,
    kind          text NOT NULL,
    outcome       text NOT NULL,
    org_id        text REFERENCES organizations,
    amount_minor  bigint,
    currency      text,
    occurred_at   timestamptz NOT NULL,
    due           jsonb NOT NULL,
    detail        text NOT NULL,
    facts         jsonb,
    found_at      timestamptz NOT NULL DEFAULT now(),
    handed_on_at  timestamptz,
    CONSTRAINT reconciliation_findings_once UNIQUE (run_id, subject)
);
CREATE INDEX reconciliation_findings_open ON reconciliation_findings (run_id, position)
    WHERE outcome = 'open';
CREATE INDEX reconciliation_findings_run ON reconciliation_findings (run_id, position);
CREATE INDEX reconciliation_findings_missed ON reconciliation_findings (occurred_at)
    WHERE kind = 'missing';

-- Which events told of a payment.
CREATE INDEX webhook_events_payment ON webhook_events (subject) WHERE source = 'stripe';

-- Which entries reverse or correct an entry.
CREATE INDEX ledger_entries_reverses ON ledger_entries (reverses) WHERE reverses IS NOT NULL;
"""


def upgrade() -> None:
    """Add the tables of the reports."""
    op.execute(_TABLES)
