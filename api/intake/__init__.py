"""Accept first: one durable write, then the right lane."""
