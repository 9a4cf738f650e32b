"""Webhooks: verified on the raw bytes, stored in one durable write, answered."""
