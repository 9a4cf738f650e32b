"""Auto-recharge: when a saved card is charged, and when it is left alone."""
