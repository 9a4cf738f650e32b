"""The inbox of webhooks: accept them, hand them out, look them up, remove their bodies."""
