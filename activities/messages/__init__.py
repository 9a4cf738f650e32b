"""Messages: charge them, and ask Twilio about them."""
