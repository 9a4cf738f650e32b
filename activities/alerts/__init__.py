"""Alerts: deliver what is in the outbox to Slack."""
