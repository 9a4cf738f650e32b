"""What payments, recharges, refunds and disputes and the entries about them do not agree on.

Each query names the subject, the organisation and what is wrong. Only constants are put into its
text. That a payment was not credited is no flaw if a person has given it up; once it is credited,
what goes back from it is missed all the same, and of whom is what the credit says. What is on its
way has a day, for the nightly reconciliation finds whatever is at Stripe and not here.
"""

from collections.abc import Mapping

from billing.ledger.audit import Check
from billing.payments.payment import OUR_PAYMENT_TYPES
from billing.payments.refunds_and_disputes import OVER

_OURS = ", ".join(f"'{one}'" for one in sorted(OUR_PAYMENT_TYPES))
_OVER = "|".join(sorted(OVER))
_IS_LATE = "handled_at < now() - interval '1 day'"


def _credit(payment_id: str) -> str:
    r"""Return the key of a payment's credit, as `billing.ledger.entry.payment_credit_key` does.

    Without the backslash SQLAlchemy's `text` would take `:credit` for a parameter.
    """
    return rf"'payment:' || {payment_id} || '\:credit'"


def _is_given_up(payment_id: str) -> str:
    return f"EXISTS (SELECT FROM discarded_payments AS up WHERE up.payment_id = {payment_id})"


# The key does not say from which payment the money goes back, but the cause does: see
# `billing.payments.payment.due_entries`.
_BACK = """
    SELECT key, kind, org_id, currency, amount_minor,
           substring(cause FROM ' of payment ([^ ]+)$') AS payment_id
    FROM ledger_entries
    WHERE org_id = ANY(:org_ids)
      AND kind IN ('refund', 'refund_reversal', 'dispute', 'dispute_reversal')"""

OF_ORGANIZATIONS: Mapping[Check, str] = {
    # Two days: the customer has a day to confirm the payment, and then it is on its way for a day.
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
               format('it charged %s %s, and %s %s were credited', attempt.amount_minor,
                   attempt.currency, entry.amount_minor, entry.currency) AS detail
        FROM recharge_attempts AS attempt
        JOIN ledger_entries AS entry ON key = {_credit("payment_id")}
        WHERE attempt.org_id = ANY(:org_ids) AND state = 'succeeded'
          AND (attempt.amount_minor, attempt.currency)
              <> (entry.amount_minor, entry.currency)""",  # noqa: S608
    # Whatever became of the attempt: a card that was charged for one pays no other.
    Check.RECHARGE_OF_OTHER_ORGANIZATION: f"""
        SELECT attempt_id AS subject, attempt.org_id,
               format('%s was charged for it, and %s was credited', attempt.org_id, entry.org_id)
                   AS detail
        FROM recharge_attempts AS attempt
        JOIN ledger_entries AS entry ON key = {_credit("payment_id")}
        WHERE attempt.org_id = ANY(:org_ids) AND attempt.org_id <> entry.org_id""",  # noqa: S608
    Check.RETURN_WITHOUT_CREDIT: f"""
        SELECT key AS subject, org_id,
               format('%s was not credited to them', coalesce(payment_id, 'what it returns'))
                   AS detail
        FROM ({_BACK}) AS back
        WHERE NOT EXISTS (
            SELECT FROM ledger_entries AS entry
            WHERE entry.key = {_credit("back.payment_id")} AND entry.kind = 'topup'
              AND (entry.org_id, entry.currency) = (back.org_id, back.currency))""",  # noqa: S608
    # Disputes are not counted: a bank can take more than was paid, or what was refunded before.
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
    # A dispute is open once it has taken money. Until then it is an inquiry.
    Check.DISPUTE_WITHOUT_ENTRY: f"""
        SELECT dispute_id AS subject, org_id, 'it is open, and nothing was taken for it' AS detail
        FROM disputes
        WHERE org_id = ANY(:org_ids) AND is_open AND updated_at < now() - interval '1 day'
          AND NOT EXISTS (SELECT FROM ledger_entries WHERE key = 'dispute:' || dispute_id)
          AND NOT {_is_given_up("disputes.payment_id")}""",  # noqa: S608
    # Stripe has said that it is over, by an event or when it was asked at night, and nobody has
    # looked at it since. (When somebody looks, the note is as old as what it was handled with.)
    Check.DISPUTE_OPEN_THOUGH_CLOSED: f"""
        SELECT dispute_id AS subject, dispute.org_id,
               format('it freezes recharges, and %s', coalesce(closed.told, found.detail)) AS detail
        FROM disputes AS dispute
        LEFT JOIN LATERAL (
            SELECT format('was closed at Stripe by %s', key) AS told
            FROM webhook_events
            WHERE source = 'stripe' AND status = 'handled'
              AND type IN ('charge.dispute.closed', 'v1.charge.dispute.closed')
              AND subject = dispute.payment_id AND handled_at > dispute.updated_at AND {_IS_LATE}
              AND CASE WHEN is_jsonb(body)
                  THEN coalesce(body::jsonb #>> '{{data,object,id}}',
                                body::jsonb #>> '{{related_object,id}}') = dispute.dispute_id END
            LIMIT 1
        ) AS closed ON true
        LEFT JOIN LATERAL (
            SELECT detail FROM reconciliation_findings
            WHERE subject = dispute.payment_id AND kind = 'drifted'
              AND found_at > dispute.updated_at AND found_at < now() - interval '1 day'
              AND detail ~ (dispute.dispute_id || ' is ({_OVER})')
            LIMIT 1
        ) AS found ON true
        WHERE dispute.org_id = ANY(:org_ids) AND is_open
          AND coalesce(closed.told, found.detail) IS NOT NULL""",  # noqa: S608
    Check.ENTRY_WITHOUT_DISPUTE: """
        SELECT key AS subject, org_id, 'no dispute is known for it' AS detail
        FROM ledger_entries
        WHERE org_id = ANY(:org_ids) AND kind IN ('dispute', 'dispute_reversal')
          AND NOT EXISTS (SELECT FROM disputes WHERE dispute_id = split_part(key, ':', 2))""",
}

OF_WEBHOOKS: Mapping[Check, str] = {
    # Only events whose own data says that the payment would be credited, as
    # `billing.payments.payment.is_ours` and `mismatch` decide it. Others are of somebody else, or
    # park. Bodies are kept as they came, and not all are JSON: MATERIALIZED keeps PostgreSQL from
    # casting one before `is_jsonb` has let it through, and from reading the bodies of
    # credited payments. DISTINCT ON, for several events are about one payment.
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
            WHERE is_jsonb(body)
        )
        SELECT DISTINCT ON (subject) subject, wallets.org_id,
               format('%s %s were paid, and not credited',
                   coalesce(paid ->> 'amount_received', paid ->> 'amount_total'), wallets.currency)
                   AS detail
        FROM told
        JOIN wallets ON wallets.org_id
             = coalesce(paid #>> '{{metadata,org_id}}', paid ->> 'client_reference_id')
        LEFT JOIN stripe_customers AS payer ON payer.org_id = wallets.org_id
        WHERE coalesce(paid #>> '{{metadata,type}}' IN ({_OURS}), :untyped_are_ours)
          AND paid ->> 'currency' = wallets.currency
          AND coalesce(paid ->> 'payment_status', 'paid') = 'paid'
          AND coalesce(paid #>> '{{metadata,amount_minor}}'
              = coalesce(paid ->> 'amount', paid ->> 'amount_total'), true)
          AND (coalesce(paid ->> 'customer' = payer.customer_id, true) OR EXISTS (
              SELECT FROM former_customers AS former
              WHERE (former.customer_id, former.org_id) = (paid ->> 'customer', wallets.org_id)))
        ORDER BY subject""",  # noqa: S608
    # Not counted is a refund that has succeeded and is not booked: Stripe only releases by it what
    # was never captured. MATERIALIZED and DISTINCT ON are here for the same reasons as above.
    Check.RETURN_WITHOUT_ENTRY: f"""
        WITH told AS MATERIALIZED (
            SELECT event.type, body, entry.org_id, entry.currency
            FROM webhook_events AS event
            JOIN ledger_entries AS entry ON entry.key = {_credit("subject")}
            WHERE source = 'stripe' AND status = 'handled' AND {_IS_LATE}
              AND type IN ('refund.created', 'refund.updated', 'refund.failed',
                           'charge.refund.updated', 'charge.dispute.funds_withdrawn')
        ), back AS MATERIALIZED (
            SELECT org_id, currency, returned,
                   split_part(replace(type, 'charge.', ''), '.', 1) || ':' || (returned ->> 'id')
                       AS key
            FROM (
                SELECT *, body::jsonb #> '{{data,object}}' AS returned FROM told
                WHERE is_jsonb(body)
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
