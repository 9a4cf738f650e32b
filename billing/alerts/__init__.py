"""Alerts: what is sent to people without their asking, and every text of it."""
