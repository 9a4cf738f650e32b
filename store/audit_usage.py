"""What calls and messages, the reports of them and the entries that charge them do not agree on.

Each query names the subject, the organisation and what is wrong. Only constants are spliced in.
"""

from collections.abc import Mapping

from billing.audit import Check
from store.audit_ledger import SIGNED

OF_ORGANIZATIONS: Mapping[Check, str] = {
    Check.CALL_WITHOUT_ENTRY: """
        SELECT call_id AS subject, org_id,
               format('settled for %s, and no entry charges it', amount_minor) AS detail
        FROM calls
        WHERE org_id = ANY(:org_ids) AND state = 'settled' AND amount_minor > 0
          AND NOT EXISTS (SELECT FROM ledger_entries WHERE key = 'call:' || call_id)""",
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
    Check.MESSAGE_OF_OTHER_AMOUNT: """
        SELECT sid AS subject, messages.org_id,
               format('%s for %s %s, and its entry charges %s %s', state, messages.amount_minor,
                   messages.currency, entry.amount_minor, entry.currency) AS detail
        FROM messages JOIN ledger_entries AS entry ON key = 'sms:' || sid
        WHERE messages.org_id = ANY(:org_ids) AND state IN ('charged', 'reversed')
          AND (messages.amount_minor, messages.currency)
              IS DISTINCT FROM (entry.amount_minor, entry.currency)""",
    Check.ENTRY_WITHOUT_MESSAGE: """
        SELECT key AS subject, org_id, 'no message is known for it' AS detail
        FROM ledger_entries
        WHERE org_id = ANY(:org_ids) AND kind = 'sms'
          AND NOT EXISTS (SELECT FROM messages WHERE sid = substr(key, 5))""",
}

OF_WEBHOOKS: Mapping[Check, str] = {
    # A report that is handled has its call, settled or waiting.
    Check.REPORT_WITHOUT_CALL: """
        SELECT subject, NULL AS org_id, 'its report was handled, and no call is known' AS detail
        FROM webhook_events
        WHERE source = 'vapi' AND type = 'end-of-call-report' AND status = 'handled'
          AND NOT EXISTS (SELECT FROM calls WHERE call_id = subject)""",
}
