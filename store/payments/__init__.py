"""What is kept of payments beside their entries."""
