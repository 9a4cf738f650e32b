"""Messages: how far they come, and what is due for them."""
