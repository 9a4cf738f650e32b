"""The ledger and its wallets, read and written; and what audits find in it."""
