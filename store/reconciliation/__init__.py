"""Runs of reconciliation, what they compare with, and what they found."""
