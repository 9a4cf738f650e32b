"""Reconciliation: a provider's lists compared with the ledger."""
