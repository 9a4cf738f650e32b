"""Alerts about keys to the API."""

from datetime import timedelta

from billing.alerts.alert import Alert, AlertLevel
from billing.organizations import ApiKey

# An operator's key that was used in this time, and opens nothing any more in as much, is told.
WEEK = timedelta(days=7)


def expiring(key: ApiKey) -> Alert:
    """Return the alert that an operator's key is in use and soon opens nothing any more."""
    until = f"{key.expires_at:%Y-%m-%d %H:%M} UTC"
    return Alert(
        key=f"keys/{key.key_id}/expires",
        level=AlertLevel.MEDIUM,
        title=f"A key of an operator expires on {until}",
        text="It is in use. Whoever has it makes another in its place, `POST"
        f" /v1/api-keys/{key.key_id}/rotate` or `callwallet keys rotate {key.key_id}`, with a later"
        " end. If it is to end, there is nothing to do.",
        facts=(("Key", key.key_id), ("Label", key.label), ("Scope", key.scope), ("Until", until)),
    )
