"""Work that waits, and every text that operators read about it."""
