"""Messages: merge what is heard of them, charge them in sets, and read them."""
