"""What waits: charged when it can be, and swept up when nobody was told."""
