"""Calls: charge them, and ask Vapi about them."""
