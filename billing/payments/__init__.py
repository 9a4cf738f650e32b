"""Payments by card, and the money that goes back from them."""
