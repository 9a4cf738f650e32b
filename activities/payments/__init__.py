"""Payments: settle them, and ask Stripe about them, their customers and checkout sessions."""
