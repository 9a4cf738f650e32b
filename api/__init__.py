"""HTTP: webhooks from providers, and one router a noun."""
