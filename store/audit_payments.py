"""What payments, recharges, refunds and disputes and the entries about them do not agree on.

Each query names the subject, the organisation and what is wrong. Only constants are spliced in.
What is about a payment that a person has given up is nothing to tell of, and what is on its way has
a day's time: whatever is at Stripe and not here is found by the nightly reconciliation before.
"""

from collections.abc import Mapping

from billing.audit import Check
from billing.payment import OUR_PAYMENT_TYPES

_OURS = ", ".join(f"'{one}'" for one in sorted(OUR_PAYMENT_TYPES))
_IS_LATE = "handled_at < now() - interval '1 day'"


def _credit(payment_id: str) -> str:
    """Key the credit of a payment, as `billing.ledger.payment_credit_key` does."""
    return rf"'payment:' || {payment_id} || '\:credit'"


def _is_given_up(payment_id: str) -> str:
    return f"EXISTS (SELECT FROM discarded_payments AS up WHERE up.payment_id = {payment_id})"


# Which payment the money goes back from is in the cause: `billing.payment.due_entries`.
_BACK = """
    SELECT key, kind, org_id, currency, amount_minor,
           substring(cause FROM ' of payment ([^ ]+)$') AS payment_id
    FROM ledger_entries
    WHERE org_id = ANY(:org_ids)
      AND kind IN ('refund', 'refund_reversal', 'dispute', 'dispute_reversal')"""

OF_ORGANIZATIONS: Mapping[Check, str] = {
    # The customer may confirm for a day what the card was to pay, and then it is on its way.
    Check.RECHARGE_WITHOUT_CREDIT: f"""
        SELECT attempt_id AS subject, org_id,
               format('it succeeded, and %s was not credited',
                   coalesce(payment_id, 'a payment without a name')) AS detail
        FROM recharge_attempts AS attempt
        WHERE org_id = ANY(:org_ids) AND state = 'succeeded'
          AND written_at < now() - interval '2 days'
          AND NOT EXISTS (SELECT FROM ledger_entries WHERE key = {_credit("attempt.payment_id")})
          AND NOT {_is_given_up("attempt.payment_id")}""",  # noqa: S608
    Check.RECHARGE_OF_OTHER_AMOUNT: f"""
        SELECT attempt_id AS subject, attempt.org_id,
               format('it charged %s %s, and %s %s were credited to %s', attempt.amount_minor,
                   attempt.currency, entry.amount_minor, entry.currency, entry.org_id) AS detail
        FROM recharge_attempts AS attempt
        JOIN ledger_entries AS entry ON key = {_credit("payment_id")}
        WHERE attempt.org_id = ANY(:org_ids) AND state = 'succeeded'
          AND (attempt.org_id, attempt.amount_minor, attempt.currency)
              <> (entry.org_id, entry.amount_minor, entry.currency)""",  # noqa: S608
    Check.RETURN_WITHOUT_CREDIT: f"""
        SELECT key AS subject, org_id,
               format('%s was not credited to them', coalesce(payment_id, 'what it returns'))
                   AS detail
        FROM ({_BACK}) AS back
        WHERE NOT EXISTS (
            SELECT FROM ledger_entries AS entry
            WHERE entry.key = {_credit("back.payment_id")} AND entry.kind = 'topup'
              AND (entry.org_id, entry.currency) = (back.org_id, back.currency))""",  # noqa: S608
    # Not so for disputes: what a bank takes can be more than was paid, or was refunded before.
    Check.REFUNDED_TOO_MUCH: f"""
        SELECT entry.key AS subject, entry.org_id,
               format('%s were credited, and %s refunded', entry.amount_minor, refunded) AS detail
        FROM (
            SELECT payment_id,
                   sum(CASE kind WHEN 'refund' THEN amount_minor ELSE -amount_minor END) AS refunded
            FROM ({_BACK}) AS back WHERE kind IN ('refund', 'refund_reversal') GROUP BY payment_id
        ) AS refunds JOIN ledger_entries AS entry ON key = {_credit("payment_id")}
        WHERE refunded > entry.amount_minor""",  # noqa: S608
    Check.DISPUTE_WITHOUT_CREDIT: f"""
        SELECT dispute_id AS subject, org_id,
               format('%s was not credited to them', payment_id) AS detail
        FROM disputes
        WHERE org_id = ANY(:org_ids) AND NOT EXISTS (
            SELECT FROM ledger_entries AS entry
            WHERE key = {_credit("payment_id")} AND entry.org_id = disputes.org_id)""",  # noqa: S608
    # One is open when it has taken money: until then it is an inquiry.
    Check.DISPUTE_WITHOUT_ENTRY: f"""
        SELECT dispute_id AS subject, org_id, 'it is open, and nothing was taken for it' AS detail
        FROM disputes
        WHERE org_id = ANY(:org_ids) AND is_open AND updated_at < now() - interval '1 day'
          AND NOT EXISTS (SELECT FROM ledger_entries WHERE key = 'dispute:' || dispute_id)
          AND NOT {_is_given_up("disputes.payment_id")}""",  # noqa: S608
    Check.ENTRY_WITHOUT_DISPUTE: """
        SELECT key AS subject, org_id, 'no dispute is known for it' AS detail
        FROM ledger_entries
        WHERE org_id = ANY(:org_ids) AND kind IN ('dispute', 'dispute_reversal')
          AND NOT EXISTS (SELECT FROM disputes WHERE dispute_id = split_part(key, ':', 2))""",
}

OF_WEBHOOKS: Mapping[Check, str] = {
    # What the event itself says would be credited: `billing.payment.mismatch` has nothing against
    # it. All else is of somebody else, or parks. Bodies are kept as they came: not all are JSON.
    Check.PAYMENT_WITHOUT_CREDIT: f"""
        WITH uncredited AS MATERIALIZED (
            SELECT subject, body FROM webhook_events
            WHERE source = 'stripe' AND status = 'handled' AND {_IS_LATE}
              AND type IN ('payment_intent.succeeded', 'checkout.session.completed',
                           'checkout.session.async_payment_succeeded')
              AND NOT EXISTS (SELECT FROM ledger_entries WHERE key = {_credit("subject")})
              AND NOT {_is_given_up("subject")}
        ), told AS MATERIALIZED (
            SELECT subject, body::jsonb #> '{{data,object}}' AS paid FROM uncredited
            WHERE pg_input_is_valid(body, 'jsonb')
        )
        SELECT DISTINCT ON (subject) subject, wallets.org_id,
               format('%s %s were paid, and not credited',
                   coalesce(paid ->> 'amount_received', paid ->> 'amount_total'), wallets.currency)
                   AS detail
        FROM told
        JOIN wallets ON wallets.org_id
             = coalesce(paid #>> '{{metadata,org_id}}', paid ->> 'client_reference_id')
        LEFT JOIN stripe_customers AS payer ON payer.org_id = wallets.org_id
        WHERE coalesce(paid #>> '{{metadata,type}}' IN ({_OURS}), true)
          AND paid ->> 'currency' = wallets.currency
          AND coalesce(paid ->> 'payment_status', 'paid') = 'paid'
          AND coalesce(paid #>> '{{metadata,amount_minor}}'
              = coalesce(paid ->> 'amount', paid ->> 'amount_total'), true)
          AND coalesce(paid ->> 'customer' = payer.customer_id, true)
        ORDER BY subject""",  # noqa: S608
    # Stripe refunds what was never captured: that has succeeded at once, and is not booked.
    Check.RETURN_WITHOUT_ENTRY: f"""
        WITH told AS MATERIALIZED (
            SELECT event.type, body, entry.org_id, entry.currency
            FROM webhook_events AS event
            JOIN ledger_entries AS entry ON entry.key = {_credit("subject")}
            WHERE source = 'stripe' AND status = 'handled' AND {_IS_LATE}
              AND type IN ('refund.created', 'refund.updated', 'refund.failed',
                           'charge.refund.updated', 'charge.dispute.funds_withdrawn')
              AND NOT {_is_given_up("subject")}
        ), back AS MATERIALIZED (
            SELECT org_id, currency, returned,
                   split_part(replace(type, 'charge.', ''), '.', 1) || ':' || (returned ->> 'id')
                       AS key
            FROM (
                SELECT *, body::jsonb #> '{{data,object}}' AS returned FROM told
                WHERE pg_input_is_valid(body, 'jsonb')
            ) AS read
        )
        SELECT DISTINCT ON (key) key AS subject, org_id,
               format('%s %s went back, and no entry says so', returned ->> 'amount', currency)
                   AS detail
        FROM back
        WHERE returned ->> 'currency' = currency
          AND (key LIKE 'dispute:%' OR returned ->> 'status' <> 'succeeded'
               OR returned ->> 'balance_transaction' IS NOT NULL)
          AND NOT EXISTS (SELECT FROM ledger_entries AS entry WHERE entry.key = back.key)
        ORDER BY key""",  # noqa: S608
}
