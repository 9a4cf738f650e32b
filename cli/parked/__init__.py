"""`callwallet parked`: what waits, why, and what to decide about it."""
