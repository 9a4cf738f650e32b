"""The outbox of alerts, the alarms that fill it, and the balances that raise some."""
