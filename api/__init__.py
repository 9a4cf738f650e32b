"""HTTP: webhooks from providers, and one router per noun."""
