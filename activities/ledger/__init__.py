"""The ledger: the transactions that post to it, and its audit."""
