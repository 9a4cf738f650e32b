"""What activities share because Temporal runs them: refusals, retries, search attributes."""
