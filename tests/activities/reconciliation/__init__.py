"""Reconciliation in PostgreSQL and at the providers."""
