"""Reconciliation: the steps of a run, and the comparison of providers' lists with the ledger."""
