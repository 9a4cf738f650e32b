"""Work that waits: what is parked, and what people have decided about it."""
