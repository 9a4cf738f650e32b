"""What of the ledger does not agree with itself, with the wallets, or with the adjustments.

Each query names the subject, the organisation and what is wrong. Only constants are put into its
text.
"""

from collections.abc import Iterable, Mapping

from billing.ledger.audit import MOVES, REVERSES, WALLET, WHOLE_REVERSALS, Check

# What an entry does to its wallet's balance.
SIGNED = """CASE WHEN debit_account = 'wallet:' || org_id
            THEN -amount_minor ELSE amount_minor END"""


def _rows(rows: Iterable[tuple[str, ...]]) -> str:
    """Return constants as the rows of a VALUES list."""
    return ", ".join("({})".format(", ".join(f"'{cell}'" for cell in row)) for row in rows)


_MOVES = _rows((kind, debit, credit) for kind, moves in MOVES.items() for debit, credit in moves)
_REVERSES = _rows(REVERSES.items())
_WHOLE = ", ".join(f"'{kind}'" for kind in WHOLE_REVERSALS)


def _place(account: str) -> str:
    """Return the account in a column, as `MOVES` names it: the own wallet is WALLET."""
    return f"CASE {account} WHEN 'wallet:' || org_id THEN '{WALLET}' ELSE {account} END"


OF_ORGANIZATIONS: Mapping[Check, str] = {
    # LATERAL sums up the entries of one wallet at a time, by their index on `org_id`.
    Check.BALANCE: f"""
        SELECT org_id AS subject, org_id,
               format('the balance is %s, its entries come to %s', balance_minor, proved) AS detail
        FROM wallets LEFT JOIN LATERAL (
            SELECT coalesce(sum({SIGNED}), 0) AS proved
            FROM ledger_entries WHERE ledger_entries.org_id = wallets.org_id
        ) AS entries ON true
        WHERE org_id = ANY(:org_ids) AND balance_minor <> proved""",  # noqa: S608
    # The balance after an entry is that after the organisation's entry before it (`lag`), and what
    # the entry does to it.
    Check.CHAIN: f"""
        SELECT key AS subject, org_id,
               format('the balance after it is %s, and should be %s', balance_after_minor, expected)
                   AS detail
        FROM (
            SELECT key, org_id, balance_after_minor,
                   {SIGNED} + coalesce(lag(balance_after_minor)
                       OVER (PARTITION BY org_id ORDER BY entry_id), 0) AS expected
            FROM ledger_entries WHERE org_id = ANY(:org_ids)
        ) AS chain
        WHERE balance_after_minor <> expected""",  # noqa: S608
    Check.CURRENCY: """
        SELECT key AS subject, org_id,
               format('it is in %s, and the wallet in %s', entry.currency, wallets.currency)
                   AS detail
        FROM ledger_entries AS entry JOIN wallets USING (org_id)
        WHERE org_id = ANY(:org_ids) AND entry.currency <> wallets.currency""",
    Check.ACCOUNTS: f"""
        SELECT key AS subject, org_id,
               format('a %s does not go from %s to %s', kind, debit_account, credit_account)
                   AS detail
        FROM ledger_entries
        WHERE org_id = ANY(:org_ids)
          AND (kind, {_place("debit_account")}, {_place("credit_account")})
              NOT IN (VALUES {_MOVES})""",  # noqa: S608
    # LEFT JOIN, for the entry that is reversed may be missing. A dispute's reversal may name none.
    Check.REVERSAL: f"""
        SELECT later.key AS subject, later.org_id,
               format('a %s of %s, which is %s', later.kind, coalesce(later.reverses, 'nothing'),
                   coalesce(format('a %s of %s %s of %s', earlier.kind, earlier.amount_minor,
                       earlier.currency, earlier.org_id), 'not there')) AS detail
        FROM ledger_entries AS later
        LEFT JOIN ledger_entries AS earlier ON earlier.key = later.reverses
        WHERE later.org_id = ANY(:org_ids) AND CASE
            WHEN later.reverses IS NULL THEN later.kind IN ('correction', {_WHOLE})
            WHEN earlier.key IS NULL THEN true
            ELSE earlier.org_id <> later.org_id OR earlier.currency <> later.currency
                OR (later.kind, earlier.kind) NOT IN (VALUES {_REVERSES})
                OR later.kind IN ({_WHOLE}) AND later.amount_minor <> earlier.amount_minor
            END""",  # noqa: S608
    Check.ORGANIZATION_WITHOUT_WALLET: """
        SELECT org_id AS subject, org_id, 'it has no wallet' AS detail
        FROM organizations
        WHERE org_id = ANY(:org_ids)
          AND NOT EXISTS (SELECT FROM wallets WHERE wallets.org_id = organizations.org_id)""",
    Check.ADJUSTMENT_WITHOUT_ENTRY: """
        SELECT adjustment_id AS subject, org_id, 'applied, and no entry says so' AS detail
        FROM adjustments
        WHERE org_id = ANY(:org_ids) AND state = 'applied'
          AND NOT EXISTS (SELECT FROM ledger_entries WHERE key = 'adjustment:' || adjustment_id)""",
    # A debit takes from the wallet and a credit gives to it; the other side is `account`.
    Check.ADJUSTMENT_OF_OTHER_AMOUNT: """
        SELECT adjustment_id AS subject, asked.org_id,
               format('a %s of %s %s (%s) was asked for; its entry moves %s %s from %s to %s',
                   direction, asked.amount_minor, asked.currency, account, entry.amount_minor,
                   entry.currency, debit_account, credit_account) AS detail
        FROM adjustments AS asked
        JOIN ledger_entries AS entry ON key = 'adjustment:' || adjustment_id
        WHERE asked.org_id = ANY(:org_ids)
          AND (asked.amount_minor, asked.currency,
               CASE direction WHEN 'debit' THEN 'wallet:' || asked.org_id ELSE account END,
               CASE direction WHEN 'credit' THEN 'wallet:' || asked.org_id ELSE account END)
              <> (entry.amount_minor, entry.currency, debit_account, credit_account)""",
    # The id begins at the 12th character, after `adjustment:`.
    Check.ENTRY_WITHOUT_ADJUSTMENT: """
        SELECT key AS subject, org_id, 'no adjustment was applied for it' AS detail
        FROM ledger_entries
        WHERE org_id = ANY(:org_ids) AND key LIKE 'adjustment:%'
          AND NOT EXISTS (
            SELECT FROM adjustments WHERE adjustment_id = substr(key, 12) AND state = 'applied')""",
}
