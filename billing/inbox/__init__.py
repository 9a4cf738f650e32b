"""Webhooks: what the inbox keeps of them, and for how long."""
