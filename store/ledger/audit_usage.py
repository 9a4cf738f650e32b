"""What calls and messages, the reports of them and the entries that charge them do not agree on.

Each query names the subject, the organisation and what is wrong. Only constants are put into its
text.
"""

from collections.abc import Mapping

from billing.ledger.audit import Check
from store.ledger.audit_ledger import SIGNED

OF_ORGANIZATIONS: Mapping[Check, str] = {
    Check.CALL_WITHOUT_ENTRY: """
        SELECT call_id AS subject, org_id,
               format('settled for %s, and no entry charges it', amount_minor) AS detail
        FROM calls
        WHERE org_id = ANY(:org_ids) AND state = 'settled' AND amount_minor > 0
          AND NOT EXISTS (SELECT FROM ledger_entries WHERE key = 'call:' || call_id)""",
    # The charge of a call and its corrections together are what the call costs.
    Check.CALL_OF_OTHER_AMOUNT: f"""
        SELECT call_id AS subject, calls.org_id,
               format('settled for %s, and its entries charge %s', calls.amount_minor, charged)
                   AS detail
        FROM calls JOIN LATERAL (
            SELECT -sum({SIGNED}) AS charged FROM ledger_entries
            WHERE key = 'call:' || call_id OR reverses = 'call:' || call_id
        ) AS entries ON charged IS NOT NULL
        WHERE calls.org_id = ANY(:org_ids) AND state = 'settled'
          AND calls.amount_minor <> charged""",  # noqa: S608
    # Its corrections are of whom its charge is of: that is checked as their reversal.
    Check.CALL_OF_OTHER_ORGANIZATION: """
        SELECT call_id AS subject, entry.org_id,
               format('%s paid for it, and it is said to be of %s', entry.org_id,
                   coalesce(calls.org_id, 'nobody')) AS detail
        FROM ledger_entries AS entry JOIN calls ON call_id = substr(key, 6)
        WHERE entry.org_id = ANY(:org_ids) AND kind = 'call'
          AND calls.org_id IS DISTINCT FROM entry.org_id""",
    Check.CALL_CHARGED_AND_DISCARDED: """
        SELECT call_id AS subject, entry.org_id,
               format('discarded, and %s %s were charged', entry.amount_minor, entry.currency)
                   AS detail
        FROM ledger_entries AS entry JOIN calls ON call_id = substr(key, 6)
        WHERE entry.org_id = ANY(:org_ids) AND kind = 'call' AND state = 'discarded'""",
    # The call's id begins at the 6th character, after `call:`.
    Check.ENTRY_WITHOUT_CALL: """
        SELECT key AS subject, org_id, 'no call is known for it' AS detail
        FROM ledger_entries
        WHERE org_id = ANY(:org_ids) AND kind = 'call'
          AND NOT EXISTS (SELECT FROM calls WHERE call_id = substr(key, 6))""",
    Check.MESSAGE_WITHOUT_ENTRY: """
        SELECT sid AS subject, org_id, format('%s, and an entry is missing', state) AS detail
        FROM messages
        WHERE org_id = ANY(:org_ids) AND amount_minor > 0 AND (
          state IN ('charged', 'reversed')
              AND NOT EXISTS (SELECT FROM ledger_entries WHERE key = 'sms:' || sid)
          OR state = 'reversed'
              AND NOT EXISTS (SELECT FROM ledger_entries WHERE reverses = 'sms:' || sid))""",
    # IS DISTINCT FROM, for a message's amount may be NULL.
    Check.MESSAGE_OF_OTHER_AMOUNT: """
        SELECT sid AS subject, messages.org_id,
               format('%s for %s %s, and its entry charges %s %s', state, messages.amount_minor,
                   messages.currency, entry.amount_minor, entry.currency) AS detail
        FROM messages JOIN ledger_entries AS entry ON key = 'sms:' || sid
        WHERE messages.org_id = ANY(:org_ids) AND state IN ('charged', 'reversed')
          AND (messages.amount_minor, messages.currency)
              IS DISTINCT FROM (entry.amount_minor, entry.currency)""",
    Check.MESSAGE_OF_OTHER_ORGANIZATION: """
        SELECT sid AS subject, entry.org_id,
               format('%s paid for it, and it is said to be of %s', entry.org_id,
                   coalesce(messages.org_id, 'nobody')) AS detail
        FROM ledger_entries AS entry JOIN messages ON sid = substr(key, 5)
        WHERE entry.org_id = ANY(:org_ids) AND kind = 'sms'
          AND messages.org_id IS DISTINCT FROM entry.org_id""",
    Check.MESSAGE_CHARGED_AND_DISCARDED: """
        SELECT sid AS subject, entry.org_id,
               format('discarded, and %s %s were charged', entry.amount_minor, entry.currency)
                   AS detail
        FROM ledger_entries AS entry JOIN messages ON sid = substr(key, 5)
        WHERE entry.org_id = ANY(:org_ids) AND kind = 'sms' AND state = 'discarded'""",
    # An hour is for `Collect`. The money must have been there for as long, before and after each
    # entry of that hour. A limit that was raised since is a change of the wallet without an entry.
    Check.WAITING_THOUGH_PAYABLE: f"""
        SELECT subject, org_id,
               format('it waits for %s %s, which the wallet can pay', owed, wallets.currency)
                   AS detail
        FROM (
            SELECT call_id AS subject, org_id, updated_at AS waits_since,
                   coalesce(waiting_minor, amount_minor) AS owed
            FROM calls WHERE org_id = ANY(:org_ids) AND state = 'debt_limit'
            UNION ALL
            SELECT sid, org_id, updated_at, amount_minor
            FROM messages WHERE org_id = ANY(:org_ids) AND state = 'debt_limit'
        ) AS waiting JOIN wallets USING (org_id)
        WHERE waits_since < now() - interval '1 hour' AND owed <= balance_minor + debt_limit_minor
          AND NOT EXISTS (
            SELECT FROM ledger_entries
            WHERE ledger_entries.org_id = wallets.org_id
              AND recorded_at > now() - interval '1 hour'
              AND least(balance_after_minor, balance_after_minor - ({SIGNED}))
                  + debt_limit_minor < owed)
          AND (wallets.updated_at < now() - interval '1 hour' OR EXISTS (
            SELECT FROM ledger_entries
            WHERE ledger_entries.org_id = wallets.org_id
              AND recorded_at >= wallets.updated_at))""",  # noqa: S608
    # The message's id begins at the 5th character, after `sms:`.
    Check.ENTRY_WITHOUT_MESSAGE: """
        SELECT key AS subject, org_id, 'no message is known for it' AS detail
        FROM ledger_entries
        WHERE org_id = ANY(:org_ids) AND kind = 'sms'
          AND NOT EXISTS (SELECT FROM messages WHERE sid = substr(key, 5))""",
}

OF_WEBHOOKS: Mapping[Check, str] = {
    # A call whose report was handled is known, whether it is settled or waits.
    Check.REPORT_WITHOUT_CALL: """
        SELECT subject, NULL AS org_id, 'its report was handled, and no call is known' AS detail
        FROM webhook_events
        WHERE source = 'vapi' AND type = 'end-of-call-report' AND status = 'handled'
          AND NOT EXISTS (SELECT FROM calls WHERE call_id = subject)""",
}
